-- The Lua half of border.py: values as byte strings, and calls to the host.
--
-- Trusted code. A script may replace everything it can reach, so this file keeps each library
-- function in a local, touches script tables with raw access only and never calls a method on
-- a string. Nothing of Python is ever stored where a script could find it.

local host = ...

local collectgarbage, error, next, pcall, rawequal, rawget, rawlen, rawset, select, setmetatable,
  tostring, type = collectgarbage, error, next, pcall, rawequal, rawget, rawlen, rawset, select,
  setmetatable, tostring, type
local byte, pack, unpack = string.byte, string.pack, string.unpack
local concat, spread = table.concat, table.unpack
local integer = math.type

local DEPTH = 100
-- Ids in one message. Their text fits into the buffer that table.concat has on the C stack; beyond
-- that, it fails when memory is short without trying a collection first.
local REPORTED = 60
local NIL, TRUE, FALSE, INTEGER, FLOAT, STRING, LIST, MAP, CALLBACK, OBJECT =
  byte("ntfidslmco", 1, -1)

local border = {}                                  -- what sandbox.lua sees of this file
local callbacks, last_callback = {}, 0             -- functions that Python may ask for, by index
local facts = setmetatable({}, { __mode = "k" })   -- handle -> {id, times received, next}
local handles = setmetatable({}, { __mode = "v" }) -- id -> handle, while a script holds it
local metatables = {}                              -- class name -> metatable of its handles
local released, reporting                          -- ids let go of, as linked lists

-- Encoding ---------------------------------------------------------------------------------

local put

local function is_list(value, length)
  local count = 0
  for _ in next, value do count = count + 1 end
  if length == 0 or count ~= length then return false end
  for i = 1, length do
    if rawget(value, i) == nil then return false end
  end
  return true
end

local function put_table(value, out, depth)
  if facts[value] then
    out[#out + 1] = pack("<Bi8", OBJECT, facts[value].id)
    return
  end
  if depth >= DEPTH then
    error("a table nested deeper than 100 levels, or inside itself, cannot leave the script", 0)
  end
  local length = rawlen(value)
  if is_list(value, length) then
    out[#out + 1] = pack("<BI4", LIST, length)
    for i = 1, length do put(rawget(value, i), out, depth + 1) end
    return
  end
  local mark, count = #out + 1, 0
  out[mark] = ""
  for key, item in next, value do
    if type(key) == "string" or type(key) == "number" then
      put(key, out, depth)
      put(item, out, depth + 1)
      count = count + 1
    end
  end
  out[mark] = pack("<BI4", MAP, count)
end

function put(value, out, depth)
  local kind = type(value)
  if kind == "nil" then
    out[#out + 1] = pack("B", NIL)
  elseif kind == "boolean" then
    out[#out + 1] = pack("B", value and TRUE or FALSE)
  elseif kind == "number" then
    local whole = integer(value) == "integer"
    out[#out + 1] = whole and pack("<Bi8", INTEGER, value) or pack("<Bd", FLOAT, value)
  elseif kind == "string" then
    out[#out + 1] = pack("<Bs4", STRING, value)
  elseif kind == "table" then
    put_table(value, out, depth)
  elseif kind == "function" then
    last_callback = last_callback + 1
    callbacks[last_callback] = value
    out[#out + 1] = pack("<Bi8", CALLBACK, last_callback)
  else
    error("a value of type " .. kind .. " cannot leave the script", 0)
  end
end

-- All arguments as one encoded list; nils keep their places.
local function values(...)
  local count = select("#", ...)
  local list, out = { ... }, { pack("<BI4", LIST, count) }
  for i = 1, count do put(list[i], out, 0) end
  return concat(out)
end

-- Decoding: only border.py writes what is read here, so nothing is checked ------------------

local readers = {}

local function get(text, at)
  return readers[byte(text, at)](text, at + 1)
end

-- The handle for a host object; the one the script already holds, if it holds one.
local function adopt(class, id, fields)
  local handle = handles[id]
  if handle then
    for key, item in next, fields do rawset(handle, key, item) end
  else
    handle = fields
    facts[handle] = { id = id, times = 0, next = false }
    setmetatable(handle, metatables[class])
    handles[id] = handle
  end
  facts[handle].times = facts[handle].times + 1
  return handle
end

readers[NIL] = function(_, at) return nil, at end
readers[TRUE] = function(_, at) return true, at end
readers[FALSE] = function(_, at) return false, at end
readers[INTEGER] = function(text, at) return unpack("<i8", text, at) end
readers[FLOAT] = function(text, at) return unpack("<d", text, at) end
readers[STRING] = function(text, at) return unpack("<s4", text, at) end
readers[LIST] = function(text, at)
  local list, count = {}, nil
  count, at = unpack("<I4", text, at)
  for i = 1, count do list[i], at = get(text, at) end
  return list, at, count
end
readers[MAP] = function(text, at)
  local map, count, key = {}, nil, nil
  count, at = unpack("<I4", text, at)
  for _ = 1, count do
    key, at = get(text, at)
    map[key], at = get(text, at)
  end
  return map, at
end
readers[CALLBACK] = function(text, at)
  local index, after = unpack("<i8", text, at)
  return callbacks[index], after
end
readers[OBJECT] = function(text, at)
  local id, class, fields
  id, class, at = unpack("<i8s4", text, at)
  fields, at = get(text, at)
  return adopt(class, id, fields), at
end

-- Messages ---------------------------------------------------------------------------------

-- Notes an id that Python may forget. Finalizers call it: it must not call Python, as that would
-- run at any instruction, and must not allocate, as they run when memory is short.
local function release(entry)
  entry.next, released = released, entry
end

-- One message for Python: what it is, some ids that are no longer used, and encoded values.
local function message(op, payload)
  if not reporting then reporting, released = released, nil end
  local entry, list = reporting, {}
  while entry and #list < REPORTED do
    list[#list + 1] = pack("<i8i8", entry.id, entry.times)
    entry = entry.next
  end
  local text = pack("<s1s4", op, concat(list)) .. payload
  reporting = entry -- only now: a lack of memory above must not lose them
  return text
end

-- Sends a message; returns the kind of the answer, its values and their number.
-- The host answers nil when the reply would not fit into the memory that is left.
local function transmit(op, payload)
  local ok, reply = pcall(host, message(op, payload))
  if ok and reply == nil then
    collectgarbage("collect")
    ok, reply = pcall(host, "")
    if reply == nil then error("not enough memory", 0) end
  end
  if not ok then error("the host could not answer", 0) end
  local kind, dropped, at = unpack("<s1s4", reply)
  for i = 1, #dropped, 8 do callbacks[(unpack("<i8", dropped, i))] = nil end
  local list, _, count = get(reply, at)
  return kind, list, count
end

local function text_of(problem)
  local kind = type(problem)
  if kind == "string" or kind == "number" then return tostring(problem) end
  return "(error object is a " .. kind .. " value)"
end

-- A call that waits for a callback is released by its end, by a stop or with its coroutine.
local waiting_calls = { __gc = function(call) if call.id then release(call) end end }

-- list: id of the waiting call, callback, arguments.
local function answer_ask(list, count)
  return values(list[1], list[2](spread(list, 3, count)))
end

-- Asks the host and runs the callbacks that it asks for meanwhile. Python is never inside a
-- call while a callback runs, so that one may yield, raise or be abandoned.
local function request(op, ...)
  local kind, list, count = transmit(op, values(...))
  local waiting, problem
  while kind == "ask" do
    waiting = waiting or setmetatable({ id = list[1], times = 0, next = false }, waiting_calls)
    local ok, answer = pcall(answer_ask, list, count)
    if ok then
      kind, list, count = transmit("answer", answer)
    elseif border.stopping() then
      release(setmetatable(waiting, nil))
      border.halt()
    else
      problem = answer
      kind, list, count = transmit("failed", values(waiting.id, text_of(answer)))
    end
  end
  if waiting then waiting.id = nil end
  if kind == "return" then return spread(list, 1, count) end
  if kind == "stop" then border.halt() end
  -- An error of the callback that comes back unchanged is the same Lua value as before.
  if problem ~= nil and text_of(problem) == list[1] then error(problem, 0) end
  border.note(list[1])
  error(list[1], 0)
end

-- A class of host objects: tables whose methods call the host, with ``.`` as well as ``:``.
local function define_class(class, names)
  local methods = {}
  for _, name in next, names do methods[name] = class .. ":" .. name end
  metatables[class] = {
    __name = class,
    __metatable = false,
    __index = function(self, key)
      local method = methods[key]
      return method and function(...)
        if select("#", ...) > 0 and rawequal((...), self) then
          return request("call", method, ...)
        end
        return request("call", method, self, ...)
      end
    end,
    __gc = function(self) release(facts[self]) end,
  }
end

border.values, border.message, border.transmit = values, message, transmit
border.request, border.text_of, border.define_class = request, text_of, define_class
function border.all_reported() return not (reporting or released) end
-- Functions that a stop does not break off halfway; all end by themselves.
border.atomic = { [message] = true, [transmit] = true, [request] = true, [get] = true,
  [adopt] = true, [text_of] = true, [release] = true }
for _, reader in next, readers do border.atomic[reader] = true end
return border
