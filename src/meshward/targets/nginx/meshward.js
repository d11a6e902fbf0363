// What nginx cannot say by itself. Runs once per request in a VM of its own; values travel in nginx variables, because
// a VM does not outlive an internal redirect. A throw leaves its variable empty or ends in a 500, and the program in
// nginx.conf refuses both. `SETTINGS` (epoch, generation, revoked: paths) stands above these lines, written by program.py.
//
// Strings that come from the client were proved printable ASCII by nginx before any function here sees them, except
// bodies: njs reads bytes as UTF-8 and folds what is not into one character.

import fs from 'fs';
import hashing from 'crypto';                                         // by pieces; the global `crypto` is OpenSSL's, 5 times faster

const SMALL = 16384;                                                  // bytes
const EMPTY = '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=';        // base64 SHA-256 of nothing

// --- the decision's cache key -------------------------------------------------------------------------------------

// Every input of the decision: also cuts the raw target into model and path, which the decision is then asked with.
// The parts before the credential hold no line feed (nginx matched each), so equal text means equal parts.
function key(r) {
    const v = r.variables;
    const epoch = fs.readFileSync(SETTINGS.epoch, 'utf8');
    if (!/^[0-9]{1,15}\n?$/.test(epoch)) {
        throw new Error('the epoch file holds no number');
    }
    const front = cut(v);
    const head = [epoch, v.mw_method, v.host, front, v.mw_model, v.mw_path, v.remote_addr,
        v.ssl_client_verify, v.ssl_client_escaped_cert, ''].join('\n');
    const hash = hashing.createHash('sha256').update(head);
    const credential = r.rawVariables.http_authorization;
    if (credential) {
        hash.update(credential);
    }
    return hash.digest('hex');
}

// `/m/<model><rest>` or `/v1/…` (whose model the body named): sets model, path (no query) and the target, bytes as they came.
function cut(v) {
    const raw = v.request_uri;
    const query = raw.indexOf('?');
    const end = query < 0 ? raw.length : query;
    if (raw.startsWith('/v1/')) {
        v.mw_front = 'v1';
        v.mw_path = raw.slice(0, end);
        v.mw_target = raw;
        return 'v1';
    }
    if (!raw.startsWith('/m/')) {
        throw new Error('no front');
    }
    const slash = raw.indexOf('/', 3);
    const stop = slash < 0 || slash > end ? end : slash;
    v.mw_front = 'm';
    v.mw_model = encodeURIComponent(raw.slice(3, stop));
    v.mw_path = stop === end ? '/' : raw.slice(stop, end);
    v.mw_target = (stop === end ? '/' : '') + raw.slice(stop);
    return 'm';
}

// --- after the permit ---------------------------------------------------------------------------------------------

// X-Mw-Route: `<max_body>|<weight> <slot> <dns name>|…`; X-Mw-Limit and X-Mw-Bucket: at which rate, and who is counted.
function go(r) {
    const v = r.variables;
    const route = v.mw_d_route.split('|');
    if (route.length < 2 || !/^[0-9]{1,12}$/.test(route[0]) || !v.mw_d_txn) {
        throw new Error('the decision holds no route or no token');
    }
    if (v.mw_d_limit) {
        if (v.mw_rate_known !== '1' || !/^[0-9a-f]{32}$/.test(v.mw_d_bucket)) {
            throw new Error('a limit that nothing counts');
        }
        v.mw_bucket = v.mw_d_bucket;
    }
    const body = r.requestBuffer;                                     // throws if nginx put the body into a file
    const size = body ? body.length : 0;                              // `Content-Length: 0`: a buffer that cannot be hashed
    v.mw_bytes_in = String(size);
    if (size > Number(route[0])) {
        return refuse(r, 413, 'body_too_large', `This model takes at most ${route[0]} bytes; the body has ${size}.`);
    }
    if (size > SMALL) {
        return digested(r, body, route);
    }
    v.mw_reqd = size ? hashing.createHash('sha256').update(body).digest('base64') : EMPTY;
    send(r, route);
}

// OpenSSL hashes a large body five times faster, but a promise costs more than a small body's hash.
async function digested(r, body, route) {
    const digest = await crypto.subtle.digest('SHA-256', body);
    r.variables.mw_reqd = Buffer.from(digest).toString('base64');
    send(r, route);
}

function send(r, route) {
    const v = r.variables;
    const version = pick(route, v.request_id).split(' ');
    v.mw_slot = version[1];
    v.mw_sni = version[2];
    r.internalRedirect('@go');
}

// One of the route's weighted versions, by the request's random id.
function pick(route, id) {
    if (route.length === 2) {
        return route[1];
    }
    const weights = route.slice(1).map((version) => parseInt(version, 10));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (!(total > 0)) {
        throw new Error('the decision holds broken weights');
    }
    let at = parseInt(id.slice(0, 12), 16) % total;
    let i = 0;
    while (at >= weights[i]) {
        at -= weights[i];
        i++;
    }
    return route[i + 1];
}

// --- /v1: the body names the model --------------------------------------------------------------------------------

const LARGE = 65536;                                                  // bytes up to which a body is parsed before anybody is known
const MOST_STEPS = 5000;                                              // and what is done with it then: some 5 ms at the worst

function v1(r) {
    const v = r.variables;
    v.mw_front = 'v1';
    if (v.http_authorization || v.ssl_client_verify === 'SUCCESS') {  // else nothing is read: the decision says 401
        const text = r.requestText || '';
        const model = outer(text) || parsed(text);
        if (!model) {
            return refuse(r, 400, 'body_model_missing', text.length > LARGE
                ? 'A body this large must begin or end with its model, and have no other key of that name. Or call /m/NAME/v1.'
                : 'The body must be a JSON object with one string model at its top level, spelled in plain lower case.');
        }
        v.mw_model = encodeURIComponent(model);
    }
    r.internalRedirect('@v1');
}

const OBJECT = /^[ \t\r\n]*\{/;
const FIRST = /^[ \t\r\n]*\{[ \t\r\n]*"model"[ \t\r\n]*:[ \t\r\n]*"([\x21\x23-\x5b\x5d-\x7e]{1,200})"[ \t\r\n]*[,}]/;
const LAST = /[,{][ \t\r\n]*"model"[ \t\r\n]*:[ \t\r\n]*"([\x21\x23-\x5b\x5d-\x7e]{1,200})"[ \t\r\n]*\}[ \t\r\n]*$/;

// The model, if it is the first or the last member and no other key of the text can be read as `model`. Readers differ about a
// name given twice (first, last, and in some libraries any case), so there must be one. A key spelled in full has `"model"` in
// the text; one spelled otherwise needs an escape from \u0040 to \u006f for its letters. Nothing is parsed: if this is no JSON,
// its server refuses it.
function outer(text) {
    const found = OBJECT.test(text) && (FIRST.exec(text) || LAST.exec(text.slice(-300)));
    return found && once(text) ? found[1] : '';
}

function once(text) {
    const word = /"model"/gi;
    return word.exec(text) !== null && word.exec(text) === null && !/\\u00[46]/.test(text);
}

// The model of any other JSON object, if every reader must find the same one; else ''.
function parsed(text) {
    if (text.length > LARGE) {
        return '';
    }
    let model = '';
    try {
        model = JSON.parse(text).model;
    } catch (e) {
        return '';
    }
    const fine = like(/^[\x21-\x7e]{1,200}$/, model) && OBJECT.test(text);
    return fine && (once(text) || topLevelOnce(text)) ? model : '';
}

// Whether the valid JSON object `text` has exactly one top-level key that could be read as `model`, and that is spelled so.
function topLevelOnce(text) {
    const token = /["{}\[\]:]/g, stop = /["\\]/g;
    let depth = 0, seen = 0, start = 0, end = 0;
    for (let step = 0; step < MOST_STEPS; step++) {
        const found = token.exec(text);
        if (found === null) {
            return seen === 1;
        }
        const mark = found[0];
        if (mark === '"') {
            start = found.index;
            stop.lastIndex = start + 1;
            let hit = stop.exec(text);
            while (hit[0] === '\\' && step < MOST_STEPS) {            // an escape; valid JSON: every string ends
                stop.lastIndex = hit.index + 2;
                hit = stop.exec(text);
                step++;
            }
            end = hit.index + 1;
            token.lastIndex = end;
        } else if (mark === ':') {                                    // outside strings, only after a key
            const name = depth === 1 ? text.slice(start, end) : '';
            if (name && JSON.parse(name).toLowerCase() === 'model') {
                if (name !== '"model"') {
                    return false;
                }
                seen++;
            }
        } else {
            depth += mark === '{' || mark === '[' ? 1 : -1;
        }
    }
    return false;
}

// --- the answer: its digest, and its end --------------------------------------------------------------------------

const LOOK = 2000;                                                    // ms between two looks at who was revoked
const LEAVE = 100;                                                    // ms from the end told to the client until the model is left
const LINE = 44;                                                      // bytes of one of the revoked
const SPLIT = 65536;                                                  // bytes that may still pass so that an event is whole

let hash = null, ended = false;
let looked = 0, due = 0;                                              // ms: the last look, and from then until the next one
let ends = 0;                                                         // ms since the epoch: the token's end, if it ends the answer
let list = '';                                                        // which file of the revoked was read last
let why = '', left = 0;                                               // of an answer that we end: the reason; when its client was told
let more = 0, tail = Buffer.from('');                                 // bytes passed since there was a reason, and the last 3 of them

function filter(r, data, flags) {
    const now = Date.now(), since = now - looked;
    if (left) {                                                       // the client has its end: nothing may follow that
        if (now - left > LEAVE || now < left) {
            throw new Error('ended');
        }
        return;
    }
    if (since >= due || since < 0) {
        why = why || over(r.variables, now);
    }
    if (why && (data.length || !flags.last)) {                        // else it is whole already
        return end(r, data, flags, now);
    }
    if (flags.last) {                                                 // nginx itself says OK of a stream that was cut
        ended = true;
        r.variables.mw_last = '1';
    }
    pass(r, data, flags);
}

function pass(r, data, flags) {
    if (data.length) {
        if (hash === null) {
            hash = hashing.createHash('sha256');
        }
        hash.update(data);
    }
    r.sendBuffer(data, flags);
}

// Why this answer must end now, or ''. One that takes less than LOOK from the request on costs two variables, no file.
function over(v, now) {
    if (!looked) {
        ends = v.mw_d_ends ? Number(/^[0-9]{1,12}$/.exec(v.mw_d_ends)[0]) * 1000 : 0;
        const age = Number(v.request_time) * 1000;
        if (age < LOOK) {
            wait(now, LOOK - age);
            return ends && now >= ends ? 'token_expired' : '';
        }
    }
    wait(now, LOOK);
    try {
        return ends && now >= ends ? 'token_expired' : revoked(v, now) ? 'revoked' : '';
    } catch (e) {
        return 'revocations_unknown';
    }
}

function wait(now, time) {
    looked = now;
    due = ends > now && ends - now < time ? ends - now : time;
}

// Whether one of the names that the decision tied this answer to stands among the revoked: sorted lines of 32 hex digits,
// a space, and ten digits of the second until when (0: for ever), then `end`. Searched when it is another file than before,
// by halves: a long list read whole would stop every other request of this worker, once for each answer that runs.
function revoked(v, now) {
    if (!/^[0-9a-f]{32}( [0-9a-f]{32}){0,15}$/.test(v.mw_d_ties)) {
        throw new Error('the decision holds no ties');
    }
    const stat = fs.statSync(SETTINGS.revoked), version = stat.ino + ' ' + stat.mtimeMs;
    if (version === list) {
        return false;
    }
    const file = fs.openSync(SETTINGS.revoked, 'r');
    try {
        const size = fs.fstatSync(file).size;
        read(file, size - 4, 4, /^(end)\n$/);
        if (size % LINE !== 4) {
            throw new Error('the list of the revoked is damaged');
        }
        const hit = v.mw_d_ties.split(' ').some((tie) => holds(file, (size - 4) / LINE, tie, now / 1000));
        list = version;
        return hit;
    } finally {
        fs.closeSync(file);
    }
}

function holds(file, lines, tie, now) {
    let from = 0, to = lines;
    while (from < to) {
        const middle = (from + to) >> 1;
        const line = read(file, middle * LINE, LINE, /^([0-9a-f]{32}) ([0-9]{10})\n$/);
        if (line[1] === tie) {
            return Number(line[2]) === 0 || now < Number(line[2]);
        }
        if (line[1] < tie) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return false;
}

function read(file, at, size, form) {
    const bytes = Buffer.alloc(size);
    const found = fs.readSync(file, bytes, 0, size, at) === size && form.exec(bytes.toString('utf8'));
    if (!found) {
        throw new Error('the list of the revoked is damaged');
    }
    return found;
}

// An event stream ends between two events, with one that says why. Anything else breaks off: it must not look whole.
function end(r, data, flags, now) {
    r.variables.mw_reason = why;
    if (!/^text\/event-stream *(;|$)/i.test(r.headersOut['Content-Type']) || r.headersOut['Content-Length']) {
        throw new Error(why);
    }
    const seen = Buffer.concat([tail, data]), stop = boundary(seen) - tail.length;
    if (stop < 0 && !flags.last && more < SPLIT) {
        more += data.length;
        tail = Buffer.from(seen.slice(-3));
        return pass(r, data, flags);
    }
    left = now;
    pass(r, stop < 0 ? data : data.slice(0, stop), {flush: true});
    pass(r, Buffer.from((stop < 0 ? '\n\n' : '') + event(r.variables)), {last: true});
}

// How many bytes of `data` end with an event, or -1.
function boundary(data) {
    const found = ['\n\n', '\r\n\r\n', '\r\r'].map((mark) => {
        const at = data.indexOf(mark);
        return at < 0 ? Infinity : at + mark.length;
    });
    const first = Math.min(found[0], found[1], found[2]);
    return first === Infinity ? -1 : first;
}

function event(v) {
    const told = {
        revoked: [401, 'This caller was revoked while the answer ran. Ask the operators of this edge.'],
        token_expired: [401, 'The token ended while the answer ran. Get a new one, then ask again.'],
        revocations_unknown: [503, 'Nobody could tell just now who was revoked, so the answer was ended. Try again.'],
    }[why];
    v.mw_message = told[1];
    return `data: ${JSON.stringify(shape(v, told[0], 'edge'))}\n\n`;
}

// Read first by the log, when no more data comes: of a cut answer, the digest of what was sent.
function resd() {
    return hash !== null ? hash.digest('base64') : ended ? EMPTY : '';
}

// --- certificates -------------------------------------------------------------------------------------------------

function generation() {
    return fs.readFileSync(SETTINGS.generation, 'utf8').trim();
}

// --- refusals -----------------------------------------------------------------------------------------------------

// By the status with which nginx comes to /_err/<status>: what the client gets, why, and in which words.
// A function, not a table: the top level runs twice in every request, and only a refusal needs this.
function own(code) {
    const table = {
        400: [400, 'not_canonical', 'The request is not in canonical form: plain path segments of letters, digits and . _ ~ : @ - without escapes.'],
        401: [401, 'token_malformed', 'The Authorization header is not printable ASCII. Send Bearer and a token.'],
        404: [404, 'route_unknown', 'Nothing is served here. Models are under /m/NAME and, by the model in the body, under /v1/.'],
        405: [405, 'method_not_allowed', 'This method is not served here.'],
        408: [408, 'client_timeout', 'The request did not arrive in time.'],
        413: [413, 'body_too_large', 'The body is larger than any model here takes.'],
        414: [414, 'target_too_long', 'The request line is too long.'],
        421: [421, 'host_unknown', 'This host is not served here. Use the host name of the gateway.'],
        429: [429, 'rate_limited', 'You sent more requests than your grant allows in this time. Wait, then try again.'],
        430: [429, 'too_many_open', 'Too many requests from your address are under way. Wait for some to end, then try again.'],
        494: [431, 'headers_too_large', 'The request headers are too many or too large.'],
        495: [401, 'certificate_refused', 'The client certificate was refused: it is not a current SVID of this trust domain. Send one, or none and a token.'],
        497: [400, 'not_https', 'This port speaks HTTPS only.'],
        501: [501, 'coding_unknown', 'This transfer coding is not served.'],
        503: [503, 'decision_unavailable', 'Nobody could decide about this request just now, so it was refused. Try again.'],
    };
    return table[code] || table[503];
}

// From `go` and `v1`, whose reasons need more than a status.
function refuse(r, status, reason, message) {
    r.variables.mw_reason = reason;
    r.variables.mw_message = message;
    r.internalRedirect('/_err/' + status);
}

// The status of a refusal; sets everything else that /_err/ sends and the log wants.
function err(r) {
    const v = r.variables;
    const found = cause(v, Number(r.uri.slice(6)));
    const status = found[0];
    v.mw_reason = found[1];
    v.mw_message = found[2];
    v.mw_layer = found[1] === 'guard_unavailable' ? 'guard' : 'edge';
    if (!v.mw_path && v.mw_canonical === '1') {
        v.mw_path = v.request_uri.split('?')[0];
    }
    if (status === 401 || status === 403) {
        v.mw_challenge = challenge(v);
    }
    if (status === 429 || status === 503) {
        v.mw_retry = retryAfter(v.mw_bucket ? v.mw_d_limit : '');
    }
    v.mw_body = JSON.stringify(shape(v, status, v.mw_layer)) + '\n';
    return String(status);
}

// [status for the client, reason, message]
function cause(v, code) {
    if (v.mw_reason) {
        return [code, v.mw_reason, v.mw_message];
    }
    if (v.mw_sni && (code === 500 || code === 502 || code === 503 || code === 504)) {
        return [code === 500 ? 502 : code, 'guard_unavailable', 'The guard of this model did not answer. Try again.'];
    }
    if ((code === 401 || code === 403) && v.mw_cache) {               // asked, and refused: the decision's own words
        return [Number(like(/^(400|401|403|404|429|503)$/, v.mw_d_status)) || code,
            like(/^[a-z][a-z0-9_]{0,63}$/, v.mw_d_reason) || 'refused',
            like(/^[\x20-\x7e]{1,200}$/, v.mw_d_message) || 'The request was refused.'];
    }
    if (code === 401 && v.mw_peer === '0') {
        return own(495);
    }
    if (code === 401 && v.mw_query_token) {
        return [401, 'token_in_query', 'A token in the query ends in logs. Send it as Authorization: Bearer.'];
    }
    if (code === 400 && v.mw_canonical === '1') {
        return [400, 'bad_request', 'A request header is malformed, given twice, or asks for an upgrade.'];
    }
    return own(code);
}

// `text` if it has this form, else ''. A variable that was never set is undefined, which a RegExp reads as a word.
function like(form, text) {
    return typeof text === 'string' && form.test(text) ? text : '';
}

// RFC 6750 section 3, RFC 9728 section 5.1. The host is one of the gateway's own: that was checked before any token.
function challenge(v) {
    return like(/^[\x20-\x7e]+$/, v.mw_d_challenge)
        || `Bearer error="invalid_token", resource_metadata="https://${v.http_host}/.well-known/oauth-protected-resource"`;
}

// Whole seconds until a bucket that refills at `<n>r/s` or `<n>r/m` has one more.
function retryAfter(limit) {
    return limit.endsWith('m') ? String(Math.ceil(60 / parseInt(limit, 10))) : '1';
}

// The shape that each family of clients prints: OpenAI's below /v1, a string `error` elsewhere.
function shape(v, status, layer) {
    const id = v.request_id;
    if (v.mw_front === 'v1' || /^\/v1(\/|$)/.test(v.mw_path)) {
        const types = {401: 'authentication_error', 403: 'permission_error', 429: 'rate_limit_error'};
        const type = types[status] || (status < 500 ? 'invalid_request_error' : 'server_error');
        return {error: {message: v.mw_message, type: type, code: v.mw_reason, param: null}, request_id: id, layer: layer};
    }
    return {error: v.mw_message, error_type: v.mw_reason, request_id: id, layer: layer};
}

export default {key, go, v1, filter, resd, generation, err};
