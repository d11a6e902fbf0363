-- The edge's Lua runs in nginx's LuaJIT. What is global there is known here; a global of our own is a mistake.
std = "luajit+ngx_lua"
max_line_length = 140
-- Sentences for clients, one a line.
files["**/refusals.lua"].max_line_length = false
files["**/body_problems.lua"].max_line_length = false
