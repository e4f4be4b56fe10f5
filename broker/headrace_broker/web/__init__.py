"""The manager: pages for operators, on the broker's HTTP listener. They call the same actions as the RPCs, so nothing is possible here that is not possible over gRPC.

Who may see: nobody without a session. A session begins with a password, a token, or a one-time link that the broker prints (`login`), and is the same at every broker
(`register`). What its person may do is the table of the calls: each page and each form stands for one (`rights`).

What a page may do: scripts and styles come from this listener alone (a strict Content-Security-Policy, nothing inline, nothing evaluated); every change is a POST from
one of these pages (Origin and a token of the session are checked); pages of a session are not cached. Text that jobs, agents or people
stored is escaped by the templates.

`manager` has the routes, `visit` is what a page gets, one module for each page makes its content, `render` turns values into text, `chart` draws.
"""
