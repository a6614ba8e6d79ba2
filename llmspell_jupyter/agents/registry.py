"""The agents of one notebook."""

from __future__ import annotations

from llmspell_jupyter.agents.agent import Agent


class Agents:
    """Agents by name, in the order of their making."""

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}

    def add(self, agent: Agent) -> Agent:
        """Keep an agent; one of the same name before it is forgotten, as cells are run again."""
        self._agents.pop(agent.name, None)
        self._agents[agent.name] = agent
        return agent

    def get(self, name: str) -> Agent | None:
        """The agent of this name."""
        return self._agents.get(name)

    def names(self) -> list[str]:
        """Names of all agents."""
        return list(self._agents)

    def destroy(self, agent: Agent) -> None:
        """End an agent and forget it."""
        agent.destroy()
        if self._agents.get(agent.name) is agent:
            del self._agents[agent.name]
