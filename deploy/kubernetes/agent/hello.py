"""An agent, as an example."""

from headrace_agent import Agent, JobContext

agent = Agent("hello", slots=10)


@agent.job("greet", timeout_s=60)
async def greet(ctx: JobContext, name: str) -> str:
    """Greets somebody."""
    ctx.log.info(f"greeting {name}")
    return f"Hello {name}, attempt {ctx.attempt}"
