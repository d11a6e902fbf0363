-- When a worker begins.
assert(ngx.timer.every(0.25, require("held").look))
assert(ngx.timer.every(0.25, require("counted").settle))
assert(ngx.timer.every(0.25, require("overdue").look))
