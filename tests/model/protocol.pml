/* The protocol of the ledger, for Spin: one job, one shard, two brokers, two agents, somebody's transaction that completes the job (a door), an administrator.
 *
 * The database holds the job's events ev[1..n] (a lease is the place of its grant), lives with their locks, and who owns the shard. A broker opens a life, waits until the
 * owner's lock is free, marks the owner's life dead, takes the shard, reads: four steps, between which everybody else may act (store/ledger.py, shards/ownership.py). It
 * decides in memory and sends one flush at a time; its connection may be lost at any moment, at either end, before or after the commit. Frozen is who is not scheduled.
 * Agents hold leases, crash, keep outcomes until these are acknowledged, and send them again, to either broker, as late as they like. Time: a lease is L ticks; a tick ages
 * every clock by one, and no clock is shared. What must hold is in the asserts.
 *
 * Bounds, by -D: LIVES that are opened, MAXSEQ events of the job, ABORTS, DOORS, REQUEUES. Each of these leaves one rule out, and an assert must fail:
 *   NO_FENCE            a flush does not look whether its life is dead
 *   NO_KEY              two events may have the same place
 *   TAKE_BEFORE_DEAD    the taker reads before it has marked the old life dead
 *   ASK_BEFORE_DEAD     a broker asks what became of its flush before its old life is dead
 *   ANSWER_EARLY        an outcome is acknowledged before it is stored
 *   NO_GRACE            a new owner does not wait a lease before it calls one lost
 *   ACK_NO_PROOF        a heartbeat is answered without proof that the broker still owns the shard
 *   ASSIGN_AT_RECEIPT   an agent counts its lease from the arrival of the job
 *   FORCE_REGRANT       after a forced abort and a requeue the job is granted while the old lease may still run
 *   CHECKPOINT_ALONE    a new owner believes its checkpoint and does not read the events since
 *   STALE_SUPERSEDED    a broker that does not know a lease yet calls it superseded
 *   DOOR_NO_CHECK       a door completes a job without looking whether its lease is the newest
 */
#define L 2
#ifndef LIVES
#define LIVES 2
#endif
#ifndef MAXSEQ
#define MAXSEQ 3
#endif
#ifndef ABORTS
#define ABORTS 1
#endif
#ifndef DOORS
#define DOORS 1
#endif
#ifndef REQUEUES
#define REQUEUES 1
#endif

mtype = { none, granted, completed, lost, aborted, requeued };
mtype = { stored, taken, fenced, blocked };                 /* answers to a flush */
mtype = { standby, opened, marked, reading, serving, sent, unknown };      /* what a broker does */

/* The database. */
mtype ev[MAXSEQ + 2];
byte n; /* events of the job */
byte lives, owner;              /* lives opened so far; whose the shard is, 0: nobody's yet */
bool dead[LIVES + 1], conn[LIVES + 1], lock[LIVES + 1];      /* conn: the backend runs; lock: it holds the life's lock */
byte fplace[LIVES + 1];         /* a flush that the backend has got and not executed; 0: none */
mtype fkind[LIVES + 1];
bool landed[LIVES + 1];         /* the row of the life's newest flush is there */
byte door; /* place of a completion that somebody has not committed; 0: none */
byte aborts, doors, requeues;

/* Brokers 1 and 2: memory is a prefix of the events. */
mtype st[3], reply[3], mst[3], pkind[3];
byte life[3], from[3], before[3];      /* its life; whose shard it takes; its own dead life whose flush it asks about */
bool answer[3]; /* whether that flush is there */
byte mlen[3], pplace[3], pagent[3], hold[3];
byte proof[3], olease[3];              /* what is left of the newest proof of ownership; of the lease, by the owner's clock */

/* Agents 1 and 2, and what is on its way to them from each broker. */
byte aplace[3], aagent[3], aleft[3];   /* Assign: lease, to whom, what is left of it counted from the agent's credit */
byte has[3], left[3];                  /* the lease it runs under, and what is left of it by its own clock */
byte kept[3], sentout[3];              /* outcome that is not acknowledged; the one before, which may come again */

#define ONE_RUNS     assert(!(has[1] != 0 && has[2] != 0))                  /* nobody runs beside another one */
#define IS_PREFIX(b) assert(mlen[b] <= n && (mlen[b] == 0 || mst[b] == ev[mlen[b]]))
#define KNOWS_ALL(b) assert(owner != life[b] || dead[life[b]] || mlen[b] == n || (mlen[b] + 1 == n && ev[n] == completed && doors > 0))
#define DROP(b)      pplace[b] = 0; pagent[b] = 0; pkind[b] = none; reply[b] = none

inline store(place, kind) {            /* an event becomes durable */
  assert(place == n + 1); /* no gap, no second successor */
  assert(n == 0 || (ev[n] != completed && ev[n] != aborted) || kind == requeued); /* settled stays settled */
  assert(kind != lost || ev[n] == granted);
  assert(kind != completed || ev[n] == granted || ev[n] == lost);                 /* never by a stale lease */
  assert(kind != granted || n == 0 || ev[n] == lost || ev[n] == requeued);
  n = place; ev[place] = kind
}
inline tell(place, kind) { assert(place <= n && ev[place] == kind) }                /* what anybody is told is in the ledger */
inline read(b) { mlen[b] = n; if :: n == 0 -> mst[b] = none :: else -> mst[b] = ev[n] fi; hold[b] = 0 }
inline send(b, kind, agent) {
  pplace[b] = mlen[b] + 1; pkind[b] = kind; pagent[b] = agent; reply[b] = none; st[b] = sent;
  landed[life[b]] = false;
  if :: conn[life[b]] -> fplace[life[b]] = pplace[b]; fkind[life[b]] = kind :: else fi
}
inline acknowledge(a) { sentout[a] = kept[a]; kept[a] = 0 }
inline settle(b) { /* the flush is durable: memory follows, and whoever waits is told */
  tell(pplace[b], pkind[b]);
  mlen[b] = pplace[b]; mst[b] = pkind[b];
  if
  :: pkind[b] == granted -> olease[b] = L; hold[b] = pagent[b]; aplace[b] = pplace[b]; aagent[b] = pagent[b]
  :: pkind[b] == completed && kept[pagent[b]] != 0 && kept[pagent[b]] < pplace[b] && kept[pagent[b]] + 2 >= pplace[b] -> acknowledge(pagent[b])
  :: else
  fi;
  DROP(b); st[b] = serving; IS_PREFIX(b); KNOWS_ALL(b)
}
inline forget(b) {
  if :: life[b] != 0 -> lock[life[b]] = false :: else fi;
  DROP(b); mlen[b] = 0; mst[b] = none; hold[b] = 0; st[b] = standby; life[b] = 0; before[b] = 0; from[b] = 0
}

proctype Broker(byte b) {
  byte a, k;
  end: do
  /* Taking over: from a dead owner, or, after a connection was lost, from oneself. */
  :: atomic { (st[b] == standby || st[b] == unknown) && lives < LIVES && (owner == 0 || !lock[owner]) ->
       lives++; from[b] = owner;
       if :: st[b] == unknown -> before[b] = life[b]; from[b] = life[b] :: else -> before[b] = 0 fi;
#ifdef ASK_BEFORE_DEAD
       answer[b] = landed[before[b]];
#endif
       life[b] = lives; conn[lives] = true; lock[lives] = true; st[b] = opened }
  :: atomic { st[b] == opened && (from[b] == 0 || !lock[from[b]]) -> st[b] = marked;
#ifndef TAKE_BEFORE_DEAD
       if :: from[b] != 0 -> dead[from[b]] = true :: else fi
#endif
     }
  :: atomic { st[b] == marked ->
       if :: owner == from[b] -> owner = life[b]; st[b] = reading :: else -> forget(b) fi }      /* another one was faster: fenced */
  :: atomic { st[b] == reading ->
       proof[b] = 0;
       if
       :: before[b] == 0 ->
            read(b); st[b] = serving;
#ifdef NO_GRACE
            olease[b] = 0;
#else
            olease[b] = L;
#endif
#ifdef CHECKPOINT_ALONE
            if :: n > 0 && ev[n] == requeued -> mlen[b] = n - 1; mst[b] = ev[n - 1] :: else fi;
#endif
            IS_PREFIX(b)
       :: else -> /* memory is as it was, but for the flush that nobody knew of */
#ifndef ASK_BEFORE_DEAD
            answer[b] = landed[before[b]];
#endif
            if :: answer[b] -> settle(b) :: else -> DROP(b); st[b] = serving fi;
            answer[b] = false
       fi;
#ifndef TAKE_BEFORE_DEAD
       from[b] = 0;
#endif
       before[b] = 0; KNOWS_ALL(b) }
#ifdef TAKE_BEFORE_DEAD
  :: atomic { st[b] == serving && from[b] != 0 -> dead[from[b]] = true; from[b] = 0 }
#endif
  /* The new connection is lost too. */
  :: atomic { (st[b] == opened || st[b] == marked || st[b] == reading) && !conn[life[b]] && before[b] == 0 -> forget(b) }
  :: atomic { (st[b] == opened || st[b] == marked || st[b] == reading) && !conn[life[b]] && before[b] != 0 && lives < LIVES ->
       if :: st[b] == reading -> from[b] = life[b] :: else fi;
       lives++; life[b] = lives; conn[lives] = true; lock[lives] = true; st[b] = opened }

  /* Deciding. */
  :: atomic { st[b] == serving && mlen[b] < MAXSEQ - 1 && (mst[b] == none || mst[b] == lost || (mst[b] == requeued
#ifndef FORCE_REGRANT
       && olease[b] == 0
#endif
       )) -> if :: a = 1 :: a = 2 fi; aleft[b] = L; aplace[b] = 0; send(b, granted, a); a = 0 }
  :: atomic { st[b] == serving && mst[b] == granted && olease[b] == 0 -> send(b, lost, 0) }
  :: atomic { st[b] == serving && mlen[b] < MAXSEQ && aborts < ABORTS && mst[b] != completed && mst[b] != aborted -> aborts++; send(b, aborted, 0) }  /* waiting, or by force */
  :: atomic { st[b] == serving && mlen[b] < MAXSEQ && requeues < REQUEUES && (mst[b] == completed || mst[b] == aborted) -> requeues++; send(b, requeued, 0) }
  :: atomic { st[b] == serving && mlen[b] < n && ev[n] == completed && owner == life[b] && !dead[life[b]] -> read(b) }      /* it sees the door's row in the inbox */

  /* Proof of ownership: an empty flush that finds its life alive. */
  :: atomic { st[b] == serving && conn[life[b]] && !dead[life[b]] && proof[b] < L -> proof[b] = L; IS_PREFIX(b); KNOWS_ALL(b) }

  /* A heartbeat of an agent that this memory believes in, or that comes back after a takeover. */
  :: atomic { st[b] == serving -> if :: a = 1 :: a = 2 fi;
       if
       :: has[a] != 0 && mst[b] == granted && mlen[b] == has[a] && (hold[b] == a || hold[b] == 0) ->
            hold[b] = a; olease[b] = L;
#ifdef ACK_NO_PROOF
            left[a] = L
#else
            if :: proof[b] > left[a] -> left[a] = proof[b] :: else fi
#endif
       :: else
       fi; a = 0 }

  /* An outcome, for the first time or again. */
  :: atomic { st[b] == serving -> if :: a = 1 :: a = 2 fi; if :: k = kept[a] :: k = sentout[a] fi;
       if
       :: k != 0 && mst[b] == granted && mlen[b] == k && mlen[b] < MAXSEQ -> send(b, completed, a)
       :: k != 0 && mst[b] == lost && mlen[b] == k + 1 && mlen[b] < MAXSEQ -> send(b, completed, a)              /* accepted late */
#ifdef ANSWER_EARLY
       :: k != 0 && mst[b] == granted && mlen[b] == k && kept[a] == k -> send(b, completed, a); tell(pplace[b], completed); acknowledge(a)
#endif
       :: k != 0 && k == kept[a] && (mlen[b] > k + 1 || (mlen[b] == k + 1 && mst[b] != lost)) ->                /* already applied, or superseded */
            assert(!(n == k && ev[k] == granted)); acknowledge(a)
#ifdef STALE_SUPERSEDED
       :: k != 0 && k == kept[a] && mlen[b] < k -> assert(!(n == k && ev[k] == granted)); acknowledge(a)
#endif
       :: else
       fi; a = 0; k = 0 }

  /* The answer to a flush. */
  :: atomic { st[b] == sent && reply[b] == stored -> settle(b) }
  :: atomic { st[b] == sent && reply[b] == taken -> forget(b) } /* somebody else wrote: read the ledger again, in a new life */
  :: atomic { st[b] == sent && reply[b] == blocked -> DROP(b); st[b] = serving } /* nothing was stored: decide anew */
  :: atomic { st[b] == sent && reply[b] == fenced -> forget(b) }
  :: atomic { st[b] == sent && (reply[b] == none || reply[b] == stored) -> reply[b] = none; st[b] = unknown }   /* the answer is lost, the flush may be or come */
  :: atomic { st[b] == unknown && owner != life[b] -> forget(b) } /* fenced meanwhile: those who wait are told that it is unknown */
  od
}

/* The backend of a life. Its flush, one statement and one commit, may come long after its broker has gone. */
proctype Backend(byte l) {
  byte b;
  end: do
  :: atomic { conn[l] && fplace[l] != 0 ->
       if :: life[1] == l -> b = 1 :: life[1] != l && life[2] == l -> b = 2 :: else -> b = 0 fi;
       if
#ifndef NO_FENCE
       :: dead[l] -> reply[b] = fenced
       :: !dead[l] && door != 0 && door == fplace[l] -> reply[b] = blocked
       :: !dead[l] && door != fplace[l] ->
#else
       :: door != 0 && door == fplace[l] -> reply[b] = blocked
       :: door != fplace[l] ->
#endif
            if
#ifndef NO_KEY
            :: fplace[l] <= n -> reply[b] = taken
#endif
            :: else -> store(fplace[l], fkind[l]); landed[l] = true; reply[b] = stored; if :: st[b] == sent -> proof[b] = L :: else fi     /* each flush is a proof too */
            fi
       fi;
       fplace[l] = 0; fkind[l] = none;
       if :: b == 0 || st[b] != sent -> reply[b] = none :: else fi; b = 0 }
  :: atomic { conn[l] && lives < LIVES -> conn[l] = false; lock[l] = false; fplace[l] = 0; fkind[l] = none }     /* it ends: died, terminated, the server restarted */
  :: atomic { conn[l] && lock[l] && lives < LIVES -> lock[l] = false } /* the lock goes, the backend lives on: only the fence is left */
  od
}

proctype Agent(byte a) {
  byte b;
  end: do
  :: atomic { has[a] == 0 && kept[a] == 0 -> if :: b = 1 :: b = 2 fi;
       if
       :: aplace[b] != 0 && aagent[b] == a ->
#ifdef ASSIGN_AT_RECEIPT
            has[a] = aplace[b]; left[a] = L;
#else
            if :: aleft[b] > 0 -> has[a] = aplace[b]; left[a] = aleft[b] :: else fi;        /* else it is over already: rejected */
#endif
            aplace[b] = 0; aagent[b] = 0; aleft[b] = 0; ONE_RUNS
       :: else
       fi; b = 0 }
  :: atomic { has[a] != 0 -> kept[a] = has[a]; has[a] = 0; left[a] = 0 } /* done: the outcome is kept until somebody acknowledges it */
  :: atomic { has[a] != 0 -> has[a] = 0; left[a] = 0 } /* crashed */
  od
}

/* complete_job in somebody's transaction, by the holder of any lease that there ever was. */
proctype Door() {
  end: do
  :: atomic { door == 0 && doors < DOORS && n > 0 && n < MAXSEQ ->
#ifdef DOOR_NO_CHECK
       doors++; store(n + 1, completed)
#else
       if :: ev[n] == granted -> doors++; door = n + 1 :: else fi /* or it raises */
#endif
     }
  :: atomic { door != 0 -> store(door, completed); door = 0 }
  :: atomic { door != 0 -> door = 0 } /* rolled back */
  od
}

#define AGE(x) if :: x > 0 -> x-- :: else fi
proctype Time() {
  end: do
  :: atomic { left[1] + left[2] + proof[1] + proof[2] + olease[1] + olease[2] + aleft[1] + aleft[2] > 0 ->
       AGE(left[1]); AGE(left[2]); AGE(proof[1]); AGE(proof[2]); AGE(olease[1]); AGE(olease[2]); AGE(aleft[1]); AGE(aleft[2]);
       if :: left[1] == 0 -> has[1] = 0 :: else fi; if :: left[2] == 0 -> has[2] = 0 :: else fi }
  od
}

init {
  byte i = 1;
  atomic {
    do
    :: i <= 2 -> st[i] = standby; reply[i] = none; mst[i] = none; pkind[i] = none; i++
    :: else -> break
    od;
    reply[0] = none; i = 1;
    run Broker(1); run Broker(2); run Agent(1); run Agent(2); run Door(); run Time();
    do
    :: i <= LIVES -> fkind[i] = none; run Backend(i); i++
    :: else -> break
    od
  }
}
