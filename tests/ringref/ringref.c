// SPDX-License-Identifier: Apache-2.0
//
// ringref: a queue pair between two threads in C, the yardstick for the
// driver's own (driver/ringbench.go, `hc1ctl bench`: ring_vs_c_ratio).
//
//   ringref [--entries N] [--rounds R]     ns per entry, one line a round
//
// Both sides of the comparison do the same work, entry by entry:
//
//   host    takes a slot with a 4-bit generation (the CID of docs/hci.md
//           section 7), writes all 64 bytes of the SQE, 32 entries a batch;
//           publishes the tail once a batch by the shadow doorbell protocol
//           of section 4.1 (store, full fence, event index, MMIO only if
//           crossed); polls the CQ by phase tag, copies each CQE, checks
//           SQHD, SQID, CID, generation and slot state, files it in the slot,
//           and publishes the CQ head once a poll; then takes the result
//           out of every slot, checks its status, and gives the slot back.
//   device  polls the shadow tail, copies each SQE, checks opcode and slot,
//           looks at the CQ head when the CQ may be full, writes bytes 0..7
//           of the CQE and then 8..15, with the phase tag, in one store.
//
// At most a batch is outstanding, and the rings hold 256 entries. What a
// driver in C would do is done its way: entries are written in place, state
// is in flat arrays, and all of it is one inlined loop.

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	ENTRIES = 256,
	MASK = ENTRIES - 1,
	BATCH = 32,
	OPC = 0x82,
	QID = 1,
	SLOT_MASK = 0xFFF,
	GEN_SHIFT = 12,
	GENS = 15,
};

struct sqe {
	uint8_t opc, flags;
	uint16_t cid;
	uint32_t sid, dw2, dw3;
	uint64_t mptr, prp1, prp2;
	uint32_t cdw[6];
};

struct cqe {
	uint64_t lo; // DW0, DW1
	uint64_t hi; // SQHD, SQID, CID, STATUS with the phase tag in bit 48
};

_Static_assert(sizeof(struct sqe) == 64, "SQE is 64 bytes");
_Static_assert(sizeof(struct cqe) == 16, "CQE is 16 bytes");

// Memory that host and device share. The words of the two directions are on
// lines of their own, 128 bytes apart.
static struct {
	_Alignas(4096) struct sqe sq[ENTRIES];
	_Alignas(4096) struct cqe cq[ENTRIES];
	_Alignas(4096) uint32_t sqt; // shadow words: host writes
	_Alignas(128) uint32_t cqh;
	_Alignas(4096) uint32_t ev_sqt; // event indexes: device writes
	_Alignas(128) uint32_t ev_cqh;
	_Alignas(4096) volatile uint32_t doorbell[2]; // stands for the BAR
} m;

enum state { FREE, BUSY, DONE };

struct slot {
	uint8_t gen, state, op;
	struct cqe cqe;
};

static struct {
	uint32_t sq_tail, sq_rung, sq_head;
	_Alignas(128) uint32_t cq_head, cq_rung;
	_Alignas(128) struct slot slots[BATCH];
	uint16_t free[BATCH];
	uint32_t nfree;
	uint64_t doorbells, unexpected;
} h;

static void die(const char *what, uint64_t v)
{
	fprintf(stderr, "ringref: %s: %#llx\n", what, (unsigned long long)v);
	exit(1);
}

static inline void relax(void)
{
#if defined(RELAX) && (defined(__x86_64__) || defined(__i386__))
	__builtin_ia32_pause();
#endif
}

// publish moves a shadow word from old to new (section 4.1, host side).
static inline void publish(uint32_t *word, uint32_t *event, volatile uint32_t *reg, uint32_t old, uint32_t new)
{
	__atomic_store_n(word, new, __ATOMIC_SEQ_CST); // release, and a full fence: XCHG on x86
	uint32_t ev = __atomic_load_n(event, __ATOMIC_SEQ_CST);
	if (new - ev - 1 >= new - old)
		return;
	h.doorbells++;
	*reg = new & MASK;
}

static inline uint16_t submit(uint32_t n)
{
	if (h.nfree == 0 || h.sq_tail - h.sq_head >= ENTRIES - 1)
		die("queue full", h.sq_tail);
	uint16_t i = h.free[--h.nfree];
	struct slot *s = &h.slots[i];
	s->state = BUSY;
	s->op = OPC;
	struct sqe *e = &m.sq[h.sq_tail & MASK];
	e->opc = OPC;
	e->flags = 0;
	e->cid = i | (uint16_t)(s->gen << GEN_SHIFT);
	e->sid = 0x10001;
	e->dw2 = 0;
	e->dw3 = 0;
	e->mptr = 0;
	e->prp1 = 0x100000000ull + n;
	e->prp2 = 0;
	e->cdw[0] = n;
	e->cdw[1] = ~n;
	e->cdw[2] = 0;
	e->cdw[3] = 1 << 16;
	e->cdw[4] = 0;
	e->cdw[5] = 0;
	h.sq_tail++;
	return i;
}

static inline void complete(struct cqe c)
{
	uint32_t adv = ((uint32_t)(c.hi & 0xFFFF) - h.sq_head) & MASK;
	if (adv <= h.sq_tail - h.sq_head)
		h.sq_head += adv;
	uint16_t sqid = (uint16_t)(c.hi >> 16), cid = (uint16_t)(c.hi >> 32);
	uint32_t i = cid & SLOT_MASK;
	if (sqid != QID || i >= BATCH) {
		h.unexpected++;
		return;
	}
	struct slot *s = &h.slots[i];
	if (s->gen != cid >> GEN_SHIFT || s->state != BUSY) {
		h.unexpected++;
		return;
	}
	s->cqe = c;
	s->state = DONE;
}

static inline int poll(int max)
{
	int n = 0;
	for (; n < max; n++) {
		struct cqe *e = &m.cq[h.cq_head & MASK], c;
		c.hi = __atomic_load_n(&e->hi, __ATOMIC_ACQUIRE);
		uint32_t phase = 1 ^ (h.cq_head / ENTRIES & 1);
		if ((c.hi >> 48 & 1) != phase)
			break;
		c.lo = __atomic_load_n(&e->lo, __ATOMIC_RELAXED);
		h.cq_head++;
		complete(c);
	}
	if (n > 0) {
		publish(&m.cqh, &m.ev_cqh, &m.doorbell[1], h.cq_rung, h.cq_head);
		h.cq_rung = h.cq_head;
	}
	return n;
}

static inline int done(uint16_t i, struct cqe *c)
{
	struct slot *s = &h.slots[i];
	if (s->state != DONE)
		return 0;
	*c = s->cqe;
	s->state = FREE;
	s->gen = (s->gen + 1) & GENS;
	h.free[h.nfree++] = i;
	return 1;
}

// batch moves n <= BATCH entries through the rings.
static void batch(uint32_t first, int n)
{
	uint16_t ids[BATCH];
	for (int i = 0; i < n; i++)
		ids[i] = submit(first + i);
	publish(&m.sqt, &m.ev_sqt, &m.doorbell[0], h.sq_rung, h.sq_tail);
	h.sq_rung = h.sq_tail;
	for (int got = 0; got < n;) {
		int k = poll(n - got);
		if (k == 0)
			relax();
		got += k;
	}
	if (h.unexpected)
		die("unexpected completions", h.unexpected);
	for (int i = 0; i < n; i++) {
		struct cqe c;
		if (!done(ids[i], &c))
			die("slot is not done", ids[i]);
		if (c.hi >> 49)
			die("status", c.hi >> 49);
		if ((uint32_t)c.lo != first + i)
			die("result", c.lo);
	}
}

static uint64_t total; // entries that the device will see

static void *device(void *arg)
{
	uint32_t head = 0, tail = 0, cq_tail = 0, cq_head = 0;
	for (uint64_t seen = 0; seen < total;) {
		uint32_t t = __atomic_load_n(&m.sqt, __ATOMIC_ACQUIRE);
		if (t == tail) {
			relax();
			continue;
		}
		if (t - head > ENTRIES - 1)
			die("tail beyond the queue", t);
		for (tail = t; head != tail; seen++) {
			struct sqe e = m.sq[head & MASK];
			head++;
			if (e.opc != OPC)
				die("opcode", e.opc);
			if ((e.cid & SLOT_MASK) >= BATCH)
				die("cid", e.cid);
			while (cq_tail - cq_head >= ENTRIES)
				cq_head = __atomic_load_n(&m.cqh, __ATOMIC_ACQUIRE);
			struct cqe *c = &m.cq[cq_tail & MASK];
			uint64_t phase = 1 ^ (cq_tail / ENTRIES & 1);
			cq_tail++;
			c->lo = (uint64_t)(e.cdw[0] ^ e.cdw[1]) << 32 | e.cdw[0];
			__atomic_store_n(&c->hi,
				(uint64_t)(head & MASK) | (uint64_t)QID << 16 | (uint64_t)e.cid << 32 | phase << 48,
				__ATOMIC_RELEASE);
		}
	}
	return arg;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t v = strtoull(s, &end, 10);
	if (*s < '0' || *s > '9' || *end || v == 0 || v > 1u << 30) {
		fprintf(stderr, "ringref: %s: want 1..%u\n", s, 1u << 30);
		exit(2);
	}
	return v;
}

static double round_of(uint64_t entries)
{
	memset(&m, 0, sizeof m);
	memset(&h, 0, sizeof h);
	for (int i = 0; i < BATCH; i++)
		h.free[h.nfree++] = (uint16_t)(BATCH - 1 - i);
	// The first sixteenth warms up: thread, caches, pages.
	uint64_t warm = (entries / 16 + BATCH) / BATCH * BATCH;
	total = warm + entries;
	pthread_t t;
	if (pthread_create(&t, NULL, device, NULL))
		die("no thread", 0);
	uint32_t n = 0;
	for (; n < warm; n += BATCH)
		batch(n, BATCH);
	double t0 = now();
	for (uint64_t left = entries; left > 0;) {
		int k = left < BATCH ? (int)left : BATCH;
		batch(n, k);
		n += (uint32_t)k;
		left -= (uint64_t)k;
	}
	double ns = now() - t0;
	pthread_join(t, NULL);
	if (h.doorbells > 4)
		die("doorbells by MMIO", h.doorbells);
	return ns / (double)entries;
}

int main(int argc, char **argv)
{
	uint64_t entries = 1 << 20, rounds = 1;
	for (int i = 1; i < argc; i++) {
		if (i + 1 < argc && !strcmp(argv[i], "--entries"))
			entries = number(argv[++i]);
		else if (i + 1 < argc && !strcmp(argv[i], "--rounds"))
			rounds = number(argv[++i]);
		else {
			fprintf(stderr, "usage: ringref [--entries N] [--rounds R]\n");
			return 2;
		}
	}
	for (; rounds > 0; rounds--)
		printf("%.3f\n", round_of(entries));
	return 0;
}
