// npm's certified `oidc-provider` as three issuers on loopback, for tests: one with everything, one without device flow, and
// one whose access tokens are opaque. Anybody may sign in under any name; `alice` and `bob` have groups.
//
// stdout: first one line {"full": url, "browser": url, "opaque": url}, then one line per event: {"event", "issuer", "grant"}.
// stdin: `mark` is answered {"event": "mark"}, after all that happened before;
//        `rotate` makes the full issuer sign with a new key (the old one stays published) and is answered {"event": "rotated", "kid"}.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { Provider } from 'oidc-provider';

const AUDIENCE = 'models';
const GROUPS = { alice: ['data-science'], bob: ['sales'] };
const KINDS = { full: {}, browser: { device: false }, opaque: { jwt: false } };
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');

function newKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), alg: 'ES256', use: 'sig' };
}

function clients(device) {
  const grants = ['authorization_code', 'refresh_token', ...(device ? [DEVICE] : [])];
  const signed = { id_token_signed_response_alg: 'ES256' };
  return [
    { client_id: 'cli', application_type: 'native', token_endpoint_auth_method: 'none', grant_types: grants,
      redirect_uris: ['http://127.0.0.1/callback'], response_types: ['code'], ...signed },
    { client_id: 'batch', client_secret: 'batch-secret-for-tests', grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [], ...signed },
  ];
}

function configuration({ device = true, jwt = true }, keys) {
  const resource = { scope: '', audience: AUDIENCE, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'ES256' } } };
  return {
    clients: clients(device),
    jwks: { keys },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    scopes: ['openid', 'profile', 'groups', 'offline_access'],
    claims: { openid: ['sub', 'groups'], profile: [], groups: [] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: GROUPS[id] ?? [] }) }),
    extraTokenClaims: (_, token) => ({ groups: GROUPS[token.accountId ?? token.clientId] ?? [] }),
    rotateRefreshToken: true,
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    ttl: { AccessToken: 300, ClientCredentials: 300, IdToken: 3600, Session: 600, Grant: 3600, Interaction: 600, RefreshToken: 3600, DeviceCode: 600 },
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: device },
      clientCredentials: { enabled: true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: jwt
        ? { enabled: true, defaultResource: () => 'urn:models', useGrantedResource: () => true, getResourceServerInfo: () => resource }
        : { enabled: false },
    },
  };
}

const issuers = {};
const handlers = {};
const keys = { full: [newKey()], browser: [newKey()], opaque: [newKey()] };

function provide(kind) {
  const provider = new Provider(issuers[kind], configuration(KINDS[kind], keys[kind]));
  provider.on('grant.success', (ctx) => say({ event: 'grant', issuer: kind, grant: ctx.oidc.params.grant_type }));
  provider.on('grant.revoked', () => say({ event: 'revoked', issuer: kind }));
  handlers[kind] = provider.callback();
}

for (const kind of Object.keys(KINDS)) {
  const server = createServer((request, response) => handlers[kind](request, response));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  issuers[kind] = `http://127.0.0.1:${server.address().port}`;
  provide(kind);
}
say(issuers);

createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'mark') {
    say({ event: 'mark' });
  } else if (line === 'rotate') {
    keys.full = [newKey(), ...keys.full];
    provide('full');
    say({ event: 'rotated', kid: keys.full[0].kid });
  }
}).on('close', () => process.exit(0));
