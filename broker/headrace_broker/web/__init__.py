"""The manager: pages for operators, on the broker's HTTP listener. They call the same actions as the RPCs, so nothing is possible here that is not possible over gRPC.

Who may see: nobody without a session. A session begins with the one-time link that the broker prints at start (`sessions`), lives in this broker's memory, and ends
with it. A session has a role: a viewer sees, an operator changes jobs and agents, an admin changes settings too.

What a page may do: scripts and styles come from this listener alone (a strict Content-Security-Policy, nothing inline, nothing evaluated); every change is a POST from
one of these pages (Origin and a token of the session are checked); pages of a session are not cached. Text that jobs, agents or people
stored is escaped by the templates.

`manager` has the routes, one module for each page makes its content, `render` turns values into text, `chart` draws.
"""
