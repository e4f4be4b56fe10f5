"""The administrator's client for code without asyncio."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace_client.admin import AdminClient
from headrace_client.blocking import Blocking, Call, Stream
from headrace_client.credentials import Token
from headrace_client.models import JobType


class SyncAdminClient(Blocking[AdminClient]):
    """The methods of `AdminClient`, blocking. Use as a context manager, or call `close`."""

    def __init__(
        self, broker: str | Sequence[str] | None = None, *, domain: str | None = None, token: Token | None = None, tls_ca: str | Path | None = None,
        tls_client_cert: str | Path | None = None, tls_client_key: str | Path | None = None, actor: str | None = None, on_behalf_of: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        """See `Client`."""
        super().__init__(
            lambda: AdminClient(
                broker, domain=domain, token=token, tls_ca=tls_ca, tls_client_cert=tls_client_cert, tls_client_key=tls_client_key, actor=actor,
                on_behalf_of=on_behalf_of, timeout_s=timeout_s,
            )
        )  # fmt: skip

    def set_type(self, name: str, *, clear: Sequence[str] = (), reason: str = "", **settings: Any) -> JobType:
        """Changes a person's settings of a type."""
        return self._run(self._client.set_type(name, clear=clear, reason=reason, **settings))

    requeue = Call(AdminClient.requeue)
    abort = Call(AdminClient.abort)
    update = Call(AdminClient.update)
    hold = Call(AdminClient.hold)
    release = Call(AdminClient.release)
    purge = Call(AdminClient.purge)

    list_types = Call(AdminClient.list_types)
    get_type = Call(AdminClient.get_type)
    pause_type = Call(AdminClient.pause_type)
    resume_type = Call(AdminClient.resume_type)
    preview_retention = Call(AdminClient.preview_retention)
    apply_retention = Stream(AdminClient.apply_retention)
    pause_domain = Call(AdminClient.pause_domain)
    resume_domain = Call(AdminClient.resume_domain)
    pause_agent = Call(AdminClient.pause_agent)
    unpause_agent = Call(AdminClient.unpause_agent)
    close_breaker = Call(AdminClient.close_breaker)
    list_pauses = Call(AdminClient.list_pauses)
    list_domains = Call(AdminClient.list_domains)
    get_domain = Call(AdminClient.get_domain)
    set_domain = Call(AdminClient.set_domain)
    list_agents = Call(AdminClient.list_agents)
    drain_agent = Call(AdminClient.drain_agent)
    resume_agent = Call(AdminClient.resume_agent)
    list_alerts = Call(AdminClient.list_alerts)
    list_doors = Call(AdminClient.list_doors)
    overview = Call(AdminClient.overview)
    advance_clock = Call(AdminClient.advance_clock)
    trend = Call(AdminClient.trend)
    capacity = Call(AdminClient.capacity)
    forecast = Call(AdminClient.forecast)
    set_instance_priority = Call(AdminClient.set_instance_priority)
    list_instance_priorities = Call(AdminClient.list_instance_priorities)
    list_rescores = Call(AdminClient.list_rescores)

    put_alert_channel = Call(AdminClient.put_alert_channel)
    list_alert_channels = Call(AdminClient.list_alert_channels)
    delete_alert_channel = Call(AdminClient.delete_alert_channel)
    test_alert_channel = Call(AdminClient.test_alert_channel)
    put_alert_rule = Call(AdminClient.put_alert_rule)
    list_alert_rules = Call(AdminClient.list_alert_rules)
    delete_alert_rule = Call(AdminClient.delete_alert_rule)
    add_alert_silence = Call(AdminClient.add_alert_silence)
    list_alert_silences = Call(AdminClient.list_alert_silences)
    end_alert_silence = Call(AdminClient.end_alert_silence)
    list_alert_groups = Call(AdminClient.list_alert_groups)

    list_filters = Call(AdminClient.list_filters)
    get_filter = Call(AdminClient.get_filter)
    save_filter = Call(AdminClient.save_filter)
    delete_filter = Call(AdminClient.delete_filter)

    put_schedule = Call(AdminClient.put_schedule)
    get_schedule = Call(AdminClient.get_schedule)
    list_schedules = Call(AdminClient.list_schedules)
    pause_schedule = Call(AdminClient.pause_schedule)
    resume_schedule = Call(AdminClient.resume_schedule)
    run_schedule = Call(AdminClient.run_schedule)
    delete_schedule = Call(AdminClient.delete_schedule)

    create_token = Call(AdminClient.create_token)
    list_tokens = Call(AdminClient.list_tokens)
    rotate_token = Call(AdminClient.rotate_token)
    revoke_token = Call(AdminClient.revoke_token)
    list_audit = Call(AdminClient.list_audit)
    export_audit = Stream(AdminClient.export_audit)

    disable_user = Call(AdminClient.disable_user)
    enable_user = Call(AdminClient.enable_user)
    end_user_sessions = Call(AdminClient.end_user_sessions)
    invite_user = Call(AdminClient.invite_user)
    grant = Call(AdminClient.grant)
    end_grant = Call(AdminClient.end_grant)
    list_grants = Call(AdminClient.list_grants)
    check_access = Call(AdminClient.check_access)
    list_users = Call(AdminClient.list_users)
    put_user = Call(AdminClient.put_user)
    set_user_password = Call(AdminClient.set_user_password)

    list_brokers = Call(AdminClient.list_brokers)
    list_revoked_certificates = Call(AdminClient.list_revoked_certificates)
    revoke_certificate = Call(AdminClient.revoke_certificate)


for _name, _method in inspect.getmembers(AdminClient, inspect.isfunction):  # those without a line above are there too, though type checkers do not see them
    if not (_name.startswith("_") or hasattr(SyncAdminClient, _name)):
        setattr(SyncAdminClient, _name, Stream(_method) if inspect.isasyncgenfunction(_method) else Call(_method))
