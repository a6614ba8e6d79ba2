--== python table
return python
--== debug library
return debug
--== debug through the loaded table
return package.loaded.debug or package.loaded._G
--== require debug [forbidden]
return require("debug")
--== dofile [forbidden]
return dofile("/etc/passwd")
--== loadfile [forbidden]
return loadfile("/etc/passwd")
--== execute [forbidden]
return os.execute("touch " .. MARKER)
--== execute inside pcall
return (pcall(os.execute, "touch " .. MARKER))
--== execute inside a coroutine [forbidden]
return coroutine.wrap(function() os.execute("touch " .. MARKER) end)()
--== execute as metamethod [forbidden]
return setmetatable({}, { __index = os.execute })["touch " .. MARKER]
--== execute as sort comparator [forbidden]
return table.sort({ "a", "b", "c" }, os.execute)
--== execute as callback of the host [forbidden]
return Test.ask(os.execute, "touch " .. MARKER)
--== execute as gsub callback [forbidden]
return ("touch " .. MARKER):gsub(".+", os.execute)
--== execute by tail call [forbidden]
local function run() return os.execute("touch " .. MARKER) end
return run()
--== execute in close handler [forbidden]
local guard <close> = setmetatable({}, { __close = function() os.execute("touch " .. MARKER) end })
--== popen [forbidden]
return io.popen("id"):read("a")
--== open [forbidden]
return io.open(MARKER, "w")
--== write through io.output [forbidden]
return io.output(MARKER)
--== lines [forbidden]
return io.lines("/etc/passwd")
--== native library [forbidden]
return package.loadlib("/lib/x86_64-linux-gnu/libc.so.6", "system")
--== dump [forbidden]
return string.dump(function() end)
--== dump by method [forbidden]
return ("x").dump(print)
--== environment variable [forbidden]
return os.getenv("HOME")
--== finalizer [forbidden]
return setmetatable({}, { __gc = function() end })
--== finalizer set later
local meta = {}
local t = setmetatable({}, meta)
local ran = false
meta.__gc = function() ran = true end
t = nil
collectgarbage()
return ran
--== garbage collector off [forbidden]
return collectgarbage("stop")
--== garbage collector mode [forbidden]
return collectgarbage("generational")
--== binary chunk
return (load("\27Lua\x54\0\x19\x93\r\n\x1a\n\4\8\8xV\0\0\0\0\0\0\0\0\0\0\0(w@\1\128", "x", "b"))
--== binary chunk from a reader
local parts = { "\27Lua", "\x54\0" }
return (load(function() return table.remove(parts, 1) end))
--== globals through load
local all = load("return _ENV")()
return all.debug or all.python or (all ~= _G)
--== globals through load without environment
return pcall(load("return debug.getinfo", "x", "t", nil)) and true or nil
--== globals through _ENV
return _ENV.python or _ENV.debug or _G._G.debug
--== string metatable
return getmetatable("")
--== string metatable through a method
local ok = pcall(function() return ("x").x.y end)
return ok or getmetatable("x")
--== function metatable
return getmetatable(print)
--== thread metatable
return getmetatable(coroutine.running())
--== handle metatable
return getmetatable(Test.agent("a"))
--== handle with another metatable
return setmetatable(Test.agent("a"), {})
--== forged handle
return Test.agent("a").greet({ id = 1 }) ~= "a:[{'id': 1}]"
--== id of a handle
for key, value in next, Test.agent("a") do
  if key ~= "name" and key ~= "size" then return key end
end
--== class of a handle
return Test.agent("a").__class__
--== dictionary of a handle
return Test.agent("a").__dict__ or Test.agent("a").lua_fields or Test.agent("a").lua_class
--== globals of a method
return Test.agent("a").greet.__globals__
--== self of a function
return Test.echo.__self__
--== private function of the host
return Test.Test_echo or Test.session or Test.__init__
--== exception object
local ok, problem = pcall(Test.bug)
return ok or type(problem) ~= "string"
--== error object of the host
local ok, problem = pcall(Test.fail, "no")
return ok or type(problem) ~= "string" or problem.__traceback__
--== frame of a generator
local kinds
Test.each(1, function(...) kinds = type(...) end)
return kinds ~= "number"
--== generator as return value
return type(Test.each(1, function() end)) ~= "table"
--== suspended generator
local thread = coroutine.create(function() return Test.each(2, coroutine.yield) end)
local _, value = coroutine.resume(thread)
return type(value) ~= "number"
--== object without a form in Lua
local ok, problem = pcall(Test.odd)
return ok or type(problem) ~= "string"
--== thread handed to the host
return Test.echo(coroutine.create(print))
--== table inside itself
local t = {}
t.t = t
return Test.echo(t)
--== metamethods of an argument
local touched
Test.echo(setmetatable({ 1 }, {
  __index = function() touched = true end,
  __len = function() touched = true return 1e9 end,
  __pairs = function() touched = true end,
}))
return touched
--== poisoned library
local real = { pairs = pairs, next = next, type = type, select = select, error = error }
string.pack, string.unpack, table.concat, table.unpack = nil, nil, nil, nil
pairs, next, type, select, error, pcall, rawget = nil, nil, nil, nil, nil, nil, nil
local answer = Test.echo({ 1, 2 }, "x")
return answer[1][2] ~= 2
--== tostring that returns a function
return tostring(setmetatable({}, { __tostring = function() return print end }))
--== name of the trusted code
return load("return 1", "=?")() ~= 1
--== coroutine closes itself
return coroutine.close(coroutine.running())
--== wrong order function
local list = {}
for i = 1, 100 do list[i] = i % 7 end
return table.sort(list, function() return true end)
--== huge string
return ("x"):rep(1e10)
--== empty string repeated
return ("").rep("", 1e15) ~= ""
--== callback stays in its session
Test.keep(print)
return type(Test.kept()) ~= "function"
