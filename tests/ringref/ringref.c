// ringref: the ring that the driver's is measured against.
//
// A host thread and a device thread share a submission queue of 64-byte
// entries and a completion queue of 16-byte entries with phase tags, as in
// docs/hci.md section 7, with shadow doorbells (section 4.1). The host fills
// whole entries in batches of 32 from slots with a generation, publishes the
// tail with a full fence and looks at the event index; the device answers each
// entry; the host checks phase, queue number, command id and generation, files
// the completion in its slot, publishes its head once per quarter of the queue,
// and takes the slots back. driver/ringbench.go does the same with the driver's own queue.
//
//   ringref --entries N --rounds R      prints ns per entry, one line a round
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ENTRIES = 256, BATCH = 32, QID = 1, OPC = 0x82, MASK = ENTRIES - 1 };

struct sqe {
	uint8_t opc, flags;
	uint16_t cid;
	uint32_t sid, dw2, dw3;
	uint64_t mptr, prp1, prp2;
	uint32_t cdw[6];
};

struct slot {
	uint8_t gen, busy, done;
	uint64_t lo, hi;
};

static struct sqe sq[ENTRIES] __attribute__((aligned(4096)));
static _Atomic uint64_t cq[ENTRIES * 2] __attribute__((aligned(4096)));
static struct { _Atomic uint32_t sqt; char pad[124]; _Atomic uint32_t cqh; char pad2[124]; }
	shadow __attribute__((aligned(4096))), event __attribute__((aligned(4096)));
static _Atomic int stop;
static int bad;

static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static struct slot slots[BATCH];
static uint16_t free_slots[BATCH];
static int nfree;
static uint32_t tail, rung, head, head_rung;
static unsigned long strays, doorbells;

static void *device(void *arg)
{
	uint32_t h = 0;
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint32_t t = atomic_load_explicit(&shadow.sqt, memory_order_acquire);
		for (; h != t; h++) {
			uint64_t w;
			memcpy(&w, &sq[h & MASK], 8);
			if ((uint8_t)w != OPC)
				bad++;
			uint64_t phase = 1 ^ ((h / ENTRIES) & 1);
			uint64_t hi = ((h + 1) & MASK) | (uint64_t)QID << 16 | ((w >> 16) & 0xFFFF) << 32 | phase << 48;
			atomic_store_explicit(&cq[2 * (h & MASK)], w >> 32, memory_order_relaxed);
			atomic_store_explicit(&cq[2 * (h & MASK) + 1], hi, memory_order_release);
		}
	}
	return NULL;
}

static int submit(const struct sqe *e)
{
	if (nfree == 0)
		return -1;
	int i = free_slots[--nfree];
	slots[i].busy = 1;
	slots[i].done = 0;
	sq[tail & MASK] = *e;
	sq[tail & MASK].cid = (uint16_t)(i | slots[i].gen << 12);
	tail++;
	return i;
}

static void publish(_Atomic uint32_t *word, _Atomic uint32_t *ev, uint32_t old, uint32_t new)
{
	atomic_store_explicit(word, new, memory_order_seq_cst);
	uint32_t e = atomic_load_explicit(ev, memory_order_seq_cst);
	if ((uint32_t)(new - e - 1) < (uint32_t)(new - old))
		doorbells++;
}

static int poll_cq(int max)
{
	int n;
	for (n = 0; n < max; n++) {
		uint32_t i = head & MASK;
		uint64_t hi = atomic_load_explicit(&cq[2 * i + 1], memory_order_acquire);
		if (((hi >> 48) & 1) != (1 ^ ((head / ENTRIES) & 1)))
			break;
		uint64_t lo = atomic_load_explicit(&cq[2 * i], memory_order_relaxed);
		head++;
		uint16_t cid = (uint16_t)(hi >> 32), s = cid & 0xFFF;
		if ((uint16_t)(hi >> 16) != QID || s >= BATCH || slots[s].gen != cid >> 12 || !slots[s].busy) {
			strays++;
			continue;
		}
		slots[s].lo = lo;
		slots[s].hi = hi;
		slots[s].busy = 0;
		slots[s].done = 1;
	}
	if (head - head_rung >= ENTRIES / 4) {
		publish(&shadow.cqh, &event.cqh, head_rung, head);
		head_rung = head;
	}
	return n;
}

static int take(int i)
{
	if (!slots[i].done || (slots[i].hi >> 49) != 0)
		return -1;
	slots[i].done = 0;
	slots[i].gen = (slots[i].gen + 1) & 15;
	free_slots[nfree++] = (uint16_t)i;
	return 0;
}

static int batch(const struct sqe *e)
{
	int got, i, ids[BATCH];
	for (i = 0; i < BATCH; i++) {
		if ((ids[i] = submit(e)) < 0)
			return -1;
	}
	publish(&shadow.sqt, &event.sqt, rung, tail);
	rung = tail;
	for (got = 0; got < BATCH;) {
		int n = poll_cq(BATCH);
		got += n;
		if (n == 0)
			relax();
	}
	for (i = 0; i < BATCH; i++)
		if (take(ids[i]))
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	long entries = 1000000, rounds = 1;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--entries"))
			entries = atol(argv[i + 1]);
		else if (!strcmp(argv[i], "--rounds"))
			rounds = atol(argv[i + 1]);
		else
			return 2;
	}
	pthread_t th;
	struct sqe e = { .opc = OPC, .sid = 7, .prp1 = 1ull << 32 };
	for (int i = 0; i < BATCH; i++)
		free_slots[nfree++] = (uint16_t)i;
	if (pthread_create(&th, NULL, device, NULL))
		return 1;
	long n = entries / BATCH > 0 ? entries / BATCH : 1;
	for (long r = 0; r < rounds; r++) {
		struct timespec a, b;
		for (long i = 0; i <= n / 10; i++)
			if (batch(&e))
				return 1;
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (long i = 0; i < n; i++)
			if (batch(&e))
				return 1;
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%.3f\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / (double)(n * BATCH));
		fflush(stdout);
	}
	atomic_store(&stop, 1);
	pthread_join(th, NULL);
	return bad || strays || doorbells > 2;
}
