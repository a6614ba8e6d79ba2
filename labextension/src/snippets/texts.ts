import type { TranslationBundle } from '@jupyterlab/translation';

/** A cell to begin with; it runs as it is. */
export interface Snippet {
  readonly name: string;
  readonly label: string;
  readonly source: string;
}

const AGENT = `\
%%lua
local agent = Agent.builder()
    :name("helper")
    :system_prompt("You are a helpful assistant.")
    :temperature(0)
    :max_tokens(200)
    :build()
local answer = agent:execute("Give me a one-sentence definition of gravity.")
print(answer.text)
return answer.metadata`;

const TOOL = `\
%%lua
-- The tool is a function; the model fills in its arguments.
local function weather(arguments)
    return ({Paris = "rain", Rome = "sun"})[arguments.city]
end

local agent = Agent.builder()
    :temperature(0)
    :max_tokens(50)
    :json_schema({
        type = "object",
        properties = {city = {enum = {"Paris", "Rome"}}},
        required = {"city"},
    })
    :build()
local arguments = agent:execute("What is the weather in Rome?").data
return {arguments = arguments, result = weather(arguments)}`;

const MODELS = `\
%%lua
for _, model in ipairs(LocalLLM.list()) do
    print(model.id, model.backend, model.size_bytes)
end`;

/** What a notebook made by the launcher card asks, too. */
export const STREAM = `\
%%lua
local agent = Agent.builder()
    :system_prompt("You are a helpful assistant.")
    :max_tokens(200)
    :build()
agent:invokeStream("Write two sentences about the sea.", function(chunk)
    io.write(chunk.text)
end)`;

/** All snippets. A further one is an entry here. */
export function snippets(trans: TranslationBundle): readonly Snippet[] {
  return [
    {
      name: 'agent',
      label: trans.__('Insert Lua cell: agent'),
      source: AGENT,
    },
    { name: 'tool', label: trans.__('Insert Lua cell: tool'), source: TOOL },
    {
      name: 'models',
      label: trans.__('Insert Lua cell: model list'),
      source: MODELS,
    },
    {
      name: 'stream',
      label: trans.__('Insert Lua cell: streaming question'),
      source: STREAM,
    },
  ];
}
