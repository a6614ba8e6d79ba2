-- What a script sees, and what ends it. Trusted code, written like border.lua.
--
-- The environment is built from an allow-list. The full libraries stay in the locals below,
-- and a script has no way to look into a function's upvalues.

local border, stopped = ...

local collectgarbage, error, getmetatable, load, next, pcall, rawequal, rawget, rawset, select,
  setmetatable, tostring, type, xpcall = collectgarbage, error, getmetatable, load, next, pcall, rawequal,
  rawget, rawset, select, setmetatable, tostring, type, xpcall
local create, resume, status, close = coroutine.create, coroutine.resume, coroutine.status,
  coroutine.close
local getinfo, sethook = debug.getinfo, debug.sethook
local concat, pack = table.concat, table.pack
local clock, format, match, rep = os.clock, string.format, string.match, string.rep
local number_kind, whole = math.type, math.tointeger
local values, request = border.values, border.request

local env = {}

-- Stopping ---------------------------------------------------------------------------------

local OWN_SOURCE = getinfo(1, "S").source
local EVERY = 10000          -- VM instructions between two looks at the clock
local LOOK = 0.01            -- seconds of processor time between two questions to Python
local STOPPED = "the script was stopped"

local stopping, exit_status, looked = false, nil, 0
local hook

-- Ends the script. From here on the hook raises at every instruction of script code, so no
-- pcall, handler, metamethod or coroutine can go on.
local function halt()
  stopping = true
  sethook(hook, "", 1)
  error(STOPPED, 0)
end

function hook()
  if not stopping then
    -- Python is asked rarely: each question needs the GIL, which a busy thread may hold.
    local now = clock()
    if now - looked < LOOK then return end
    looked = now
    if not stopped() then return sethook(hook, "", EVERY) end
  end
  stopping = true
  sethook(hook, "", 1)
  if not border.atomic[getinfo(2, "f").func] then error(STOPPED, 0) end
end

-- Hooks belong to one coroutine, so what ends a coroutine must end the one around it, too.
local function passed(...)
  if stopping then halt() end
  return ...
end

-- Where a script is ------------------------------------------------------------------------

local noted -- {message, chunk, line, traceback} of the last error that the host raised

local function describe(info)
  if info.what == "main" then return "in main chunk" end
  if info.name then return "in function '" .. info.name .. "'" end
  return "in function <line " .. info.linedefined .. ">"
end

-- Chunk, line and traceback of a thread, counting script frames only.
local function position(thread)
  local chunk, line, rows, level = nil, nil, {}, 0
  while #rows < 20 do
    local info
    if thread then info = getinfo(thread, level, "Sln") else info = getinfo(level + 2, "Sln") end
    if not info then break end
    if info.what ~= "C" and info.source ~= OWN_SOURCE then
      local row = info.short_src .. ":" .. info.currentline
      if not chunk then chunk, line = info.short_src, info.currentline end
      rows[#rows + 1] = row .. ": " .. describe(info)
    end
    level = level + 1
  end
  return chunk, line, concat(rows, "\n")
end

-- Remembers where a message came from, for when it reaches the top from inside a coroutine.
local function note(message, thread)
  if noted and noted.message == message then return end
  local chunk, line, traceback = position(thread)
  noted = { message = message, chunk = chunk, line = line, traceback = traceback }
end

border.halt, border.note = halt, note
function border.stopping() return stopping end
border.atomic[border.stopping] = true

-- The environment --------------------------------------------------------------------------

local function allow(target, source, names)
  for _, name in next, names do target[name] = source[name] end
  return target
end

local function forbid(prefix, target, names)
  for _, name in next, names do
    target[name] = function() return request("forbidden", prefix .. name) end
  end
  return target
end

local function bad_argument(place, name, expected, value)
  error("bad argument #" .. place .. " to '" .. name .. "' (" .. expected .. " expected, got "
    .. type(value) .. ")", 3)
end

allow(env, _G, { "_VERSION", "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal",
  "rawget", "rawlen", "rawset", "select", "tonumber", "tostring", "type" })
forbid("", env, { "require", "dofile", "loadfile" })
env._G = env

local function all_names(library)
  local names = {}
  for name in next, library do names[#names + 1] = name end
  return names
end

env.math = allow({}, math, all_names(math))
env.table = allow({}, table, all_names(table))
env.utf8 = allow({}, utf8, all_names(utf8))
env.string = forbid("string.", allow({}, string, all_names(string)), { "dump" })
env.os = forbid("os.", allow({}, os, { "time", "clock", "date", "difftime" }),
  { "execute", "remove", "rename", "tmpname", "getenv", "setlocale" })
env.io = forbid("io.", {}, { "open", "popen", "lines", "input", "output", "tmpfile", "close",
  "read" })
env.package = forbid("package.", { path = "", cpath = "", loaded = {}, preload = {} },
  { "loadlib", "searchpath" })
env.coroutine = allow({}, coroutine, { "isyieldable", "running", "status", "yield" })

local strings = getmetatable("")
strings.__index, strings.__metatable = env.string, false

-- Of an empty string, the library's own version would count to n without ever looking up.
function env.string.rep(text, n, separator)
  if text == "" and (separator == nil or separator == "") then return "" end
  return rep(text, n, separator)
end

-- As rs-llmspell prints: whole floats without fraction, other things by the name of their type.
local function as_text(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return tostring(whole(value) or value) end
  if kind == "boolean" or kind == "nil" then return tostring(value) end
  return kind
end

function env.print(...)
  local parts = pack(...)
  for i = 1, parts.n do parts[i] = as_text(parts[i]) end
  request("print", concat(parts, "\t", 1, parts.n) .. "\n")
end

function env.io.write(...)
  if rawequal((...), env.io) then return env.io.write(select(2, ...)) end -- io.write("a"):write("b")
  local parts = pack(...)
  for i = 1, parts.n do
    local kind = type(parts[i])
    if kind ~= "string" and kind ~= "number" then
      bad_argument(i, "write", "string", parts[i])
    end
    if number_kind(parts[i]) == "float" then parts[i] = format("%.14g", parts[i]) end
  end
  request("print", concat(parts, "", 1, parts.n))
  return env.io
end

function env.os.exit(code)
  if code == nil or code == true then code = 0 elseif code == false then code = 1 end
  if number_kind(code) ~= "integer" then bad_argument(1, "exit", "integer", code) end
  exit_status = code
  halt()
end

function env.load(chunk, name, _, ...)
  if type(chunk) ~= "string" and type(chunk) ~= "function" then
    bad_argument(1, "load", "string", chunk)
  end
  -- A script's own environment is whatever table it made: it holds nothing that it lacked.
  if select("#", ...) > 0 then return load(chunk, name, "t", (...)) end
  return load(chunk, name, "t", env)
end

function env.setmetatable(target, metatable)
  if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
    request("forbidden", "setmetatable with a __gc field")
  end
  return setmetatable(target, metatable)
end

function env.getmetatable(target)
  return type(target) == "table" and getmetatable(target) or nil
end

-- The handler runs after the error has unwound: inside it, the hook would be switched off.
local function handled(handler, ok, ...)
  if ok then return true, ... end
  return false, select(2, pcall(handler, ...))
end

function env.xpcall(f, handler, ...)
  return handled(handler, pcall(f, ...))
end

function env.collectgarbage(option, ...)
  if option == nil or option == "collect" or option == "count" or option == "step" then
    return collectgarbage(option or "collect", ...)
  end
  request("forbidden", "collectgarbage(\"" .. as_text(option) .. "\")")
end

local function created(f)
  if type(f) ~= "function" then bad_argument(1, "create", "function", f) end
  local thread = create(f)
  sethook(thread, hook, "", EVERY)
  return thread
end

local function unwrapped(thread, ok, ...)
  if stopping then halt() end
  if ok then return ... end
  local problem = ...
  note(border.text_of(problem), thread)
  if status(thread) == "dead" then close(thread) end
  error(problem, 0)
end

function env.coroutine.create(f) return created(f) end
function env.coroutine.resume(thread, ...) return passed(resume(thread, ...)) end
function env.coroutine.close(thread) return passed(close(thread)) end
function env.coroutine.wrap(f)
  local thread = created(f)
  return function(...) return unwrapped(thread, resume(thread, ...)) end
end

do -- the host's own globals, as tables of plain functions
  local _, setup = border.transmit("setup", values())
  for name, functions in next, setup[1] do
    env[name] = env[name] or {}
    for _, key in next, functions do
      local path = name .. "." .. key
      env[name][key] = function(...) return request("call", path, ...) end
    end
  end
  for class, methods in next, setup[2] do border.define_class(class, methods) end
end

-- Running ----------------------------------------------------------------------------------

-- Where a variable is to be closed, Lua makes no tail calls: without this, the line of a
-- failing ``return f()`` would be lost.
local KEEP_FRAMES = "local __frame <close> = nil "

local function compiled(chunk, source, expression)
  local name = "=" .. chunk
  local whole = expression and load(KEEP_FRAMES .. "return " .. source, name, "t", env)
  if whole then return whole end
  local main, problem = load(KEEP_FRAMES .. source, name, "t", env)
  if not main then error(problem, 0) end
  return main
end

local function perform(chunk, source, expression)
  return values(compiled(chunk, source, expression)())
end

-- Runs while the hook cannot, so it must not run script code (such as __tostring).
local function report(problem)
  local message = border.text_of(problem)
  if not noted or noted.message ~= message then
    noted = nil
    note(message)
  end
  return { object = problem, message = message, chunk = noted.chunk, line = noted.line,
    traceback = noted.traceback }
end

-- Runs one script, which Python hands over when asked; returns the closing message.
local function run()
  stopping, exit_status, noted, looked = false, nil, nil, clock()
  local _, job = border.transmit("job", values())
  for name, value in next, job[4] do rawset(env, name, value) end
  sethook(hook, "", EVERY)
  local ok, outcome = xpcall(perform, report, job[1], job[2], job[3])
  -- Lua itself reports a lack of memory, without calling the handler.
  if type(outcome) == "string" and not ok then outcome = { message = outcome } end
  if not ok and not stopping and type(outcome.object) == "table" then
    local fine, text = pcall(tostring, outcome.object)
    if fine and match(text, "^table: ") == nil then outcome.message = text end
  end
  sethook()
  local kind = exit_status and "exit" or stopping and "stopped" or ok and "value" or "error"
  if kind == "value" then return border.message(kind, outcome) end
  if ok then outcome = {} end
  return border.message(kind,
    values(outcome.message, outcome.chunk, outcome.line, outcome.traceback, exit_status))
end
border.atomic[run] = true

-- Frees what the last script left behind and reports ids that it let go of; to be called again
-- until there are none. What a finalizer has seen is freed by the collection after it.
local function collect()
  if border.all_reported() then collectgarbage("collect") end
  return border.message("collected", values())
end

return run, collect
