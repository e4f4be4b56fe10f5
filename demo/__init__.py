"""The main job of headrace, to be watched: `make demo`.

The background work of a document system over the sources of Python's standard library, as they lie on this machine: every document is hashed, its words are indexed
and an HTML preview is made; all are packed into an archive; mails go to a real SMTP server, which refuses at first. Two agents in processes of their own do it, one of
which is killed midway. What they did is compared with an independent computation afterwards.
"""
