"""Who is told of what fails.

    alert (facts, written in the flush that settles a job)                          rules, every few seconds
              |                                                                        |
              +--> groups (model/alerting.py: group_wait, group_interval, ...) <-------+
                      |  one notice for each channel, in the transaction of the group
                      v
              alert_notice --> queue of each channel (model/alert_queue.py) --> mail.py, webhook.py, by_apprise.py

The broker that owns the queue does it, under a term of its own (`store/alerts.py`): a broker that has lost the duty stores nothing. What may happen at each step:

- It dies before a pass is committed: the next broker reads the same alerts again, from the cursor that is committed with the groups. Nothing is lost or counted twice.
- It dies after a notice is stored: the next one finds it waiting, and sends it.
- It dies between sending a message and recording that: the message is sent once more, with the same id (`Message-ID`, `webhook-id`), by which its receiver can tell.
- The receiver is away: the message is tried again after 5 s, then after twice as long each time up to 5 min, for three days.
- The database is away: nothing can be recorded, so rules of kind `database` tell their channels directly, once and again after repeat_interval (`duty.py`).
"""
