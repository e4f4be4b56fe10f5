-- How other brokers reach the one that has a life. Apart from `life`, whose row is the fence and is never written by anybody else's hand: a certificate may change.

create table headrace.peer (
    life_id int primary key references headrace.life,
    host text not null,                          -- machine; a loopback address is good there only
    endpoint text not null,                      -- HOST:PORT or unix:PATH of gRPC; empty: it cannot be reached
    web text not null,                           -- URL of the manager's pages; empty: there are none
    key bytea not null check (length(key) = 32), -- with which other brokers attest who called them; made anew by each process
    certificate text not null                    -- what its gRPC listener shows, PEM; empty: it is not encrypted
);
revoke all on headrace.peer from public;         -- whoever reads the key can speak for any caller
