--== plain
while true do end
--== pcall
while true do pcall(function() while true do end end) end
--== nested pcall
local function deep(n) while true do if n == 0 then pcall(string.rep, "x", 10) else pcall(deep, n - 1) end end end
while true do pcall(deep, 20) end
--== coroutine
while true do
  local thread = coroutine.create(function() while true do end end)
  while coroutine.status(thread) ~= "dead" do coroutine.resume(thread) end
end
--== coroutine.wrap in pcall
while true do pcall(coroutine.wrap(function() while true do pcall(coroutine.wrap(function() while true do end end)) end end)) end
--== new coroutines without end
while true do coroutine.wrap(function() coroutine.yield(1) end)() end
--== close handler
local again
again = function()
  local guard <close> = setmetatable({}, { __close = function() while true do pcall(again) end end })
  while true do end
end
while true do pcall(again) end
--== gsub callback
while true do pcall(string.gsub, ("x"):rep(1000), "x", function() while true do end end) end
--== sort comparator
local list = {}
for i = 1, 1000 do list[i] = i end
while true do pcall(table.sort, list, function() while true do end end) end
--== xpcall handler
while true do xpcall(error, function() while true do end end) end
--== error inside a handler
local function handler() return xpcall(error, function() return error("again") end) end
while true do xpcall(function() while true do xpcall(error, handler) end end, handler) end
--== index metamethod
local t = setmetatable({}, { __index = function(t, k) while true do end end })
while true do pcall(function() return t.x end) end
--== loaded source
while true do pcall(load("while true do end")) end
--== tostring metamethod
while true do pcall(tostring, setmetatable({}, { __tostring = function() while true do end end })) end
--== error object that never becomes text
error(setmetatable({}, { __tostring = function() while true do end end }))
--== host calls
while true do pcall(Test.echo, 1) end
--== callback of a host call
while true do pcall(Test.each, 3, function() while true do pcall(function() while true do end end) end end) end
--== callback inside a coroutine
while true do
  local thread = coroutine.create(function() Test.each(1000, coroutine.yield) end)
  while coroutine.resume(thread) and coroutine.status(thread) ~= "dead" do end
end
--== print
while true do pcall(print, "x") end
--== exit is no way around
while true do pcall(coroutine.wrap(function() pcall(next, {}) while true do pcall(pcall, pcall, error) end end)) end
--== tables that double
local t = {}
for _ = 1, 90 do t = { t, t } end
while true do pcall(Test.echo, t) end
