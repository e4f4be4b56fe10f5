"""What a job is and how it moves: pure functions and values, the same in memory, in recovery and behind every RPC.

Nothing here reads a clock, a file or a network; only the standard library is imported.
"""
