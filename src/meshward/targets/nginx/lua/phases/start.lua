-- When nginx reads its file: everything is loaded once, before there are workers, and what is broken is told then.
for _, name in ipairs { "answer", "ended", "handshake", "held", "peer", "refusals", "request" } do
    require(name)
end
-- Little garbage: how much a collision costs grows with it.
collectgarbage("setpause", 110)
