/* Layers of rectified convolution on the CPU, as XLA's typed foreign functions.

   infomech_forward(kernels, values) -> (values', exponents): the true field after all layers is
   values' * 2^exponents. infomech_reverse(kernels, values, exponents, g) -> (dL/dkernels, dL/dvalues).
   Leading axes of the operands are a batch, in which every field has its own kernels. */

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "xla/ffi/api/c_api.h"

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, ROWS = 6, COLUMNS = 2 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32, ROWS = 4, COLUMNS = 2 };
#else
enum { VECTOR_BYTES = 16, ROWS = 4, COLUMNS = 1 };
#endif
enum { WIDEST = 4, MAX_TAPS = 512, DOTS = 25, ZERO = 0, PERIODIC = 1, REFLECT = 2, WANT_TAPS = 1 };
#define UNROLL _Pragma("GCC unroll 64")

typedef struct {
  int64_t first[3], last[3]; /* first <= i < last on each axis */
} Region;

/* Fields of one to three axes, their kernels and what a layer does; missing axes have one cell. */
typedef struct {
  int64_t pixels[3], shape[3], below[3], above[3], cells, taps, layers, renew;
  int boundary, stacked;
  double slope, at_zero; /* the rectifier below 0, and its derivative at 0 */
} Stack;

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* The cell of the domain whose value cell i of the extended domain has; -1 for a value of 0. */
static inline int64_t source(int64_t i, int64_t n, int boundary) {
  if (i >= 0 && i < n) return i;
  if (boundary == ZERO) return -1;
  int64_t period = boundary == PERIODIC ? n : larger(2 * (n - 1), 1);
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

/* e of 2^e <= size, as far as 2^-e is a number of `bytes` bytes; 0 for a field that is dead or not finite. */
static int64_t exponent_of(double size, size_t bytes) {
  int64_t most = bytes == sizeof(float) ? 120 : 1000;
  return size > 0 && isfinite(size) ? larger(-most, smaller(most, ilogb(size))) : 0;
}

static int whole_axis(const Stack *s, const Region *tile, int a) {
  return tile->first[a] == 0 && tile->last[a] == s->pixels[a];
}

/* The cells that `more` layers after this one need, without those beyond the domain. */
static Region computed(const Stack *s, const Region *tile, int64_t more) {
  Region r = *tile;
  for (int a = 0; a < 3; a++) {
    if (whole_axis(s, tile, a)) continue;
    r.first[a] -= more * s->below[a];
    r.last[a] += more * s->above[a];
    if (s->boundary == PERIODIC) continue;
    r.first[a] = larger(r.first[a], 0);
    r.last[a] = smaller(r.last[a], s->pixels[a]);
  }
  return r;
}

/* The cells that `layers` layers read. */
static Region halo(const Stack *s, const Region *tile, int64_t layers) {
  Region r = computed(s, tile, layers - 1);
  for (int a = 0; a < 3; a++) {
    r.first[a] -= s->below[a];
    r.last[a] += s->above[a];
  }
  return r;
}

/* How a field is cut into tiles, and the layers a tile passes before it is put back. */
typedef struct {
  int64_t parts[3], tiles, depth;
} Tiling;

static Tiling divide(const Stack *s, int64_t bytes, int threads, int64_t layers, int whole_rows) {
  enum { PATCH_BYTES = 1 << 18, SMALLEST = 16, LONG_ROW = 1 << 16, ROW = 1 << 12 };
  int outer = s->pixels[0] > 1 ? 0 : s->pixels[1] > 1 ? 1 : 2;
  Tiling t = {.parts = {1, 1, 1}, .tiles = 1};
  int64_t deepest = outer == 0 ? 2 : outer == 1 ? larger(16 / larger(s->shape[1] - 1, 2), 1) : 16; /* or halos grow */
  deepest = smaller(s->renew ? smaller(s->renew, deepest) : deepest, layers);
  if (outer == 2) whole_rows = 0;
  int64_t size = s->cells * bytes, row = whole_rows ? s->pixels[2] : smaller(s->pixels[2], (outer == 2 ? LONG_ROW : ROW) / bytes);
  t.depth = s->renew ? deepest : (layers + (layers + deepest - 1) / deepest - 1) / ((layers + deepest - 1) / deepest);
  if (size <= PATCH_BYTES && (threads == 1 || size < PATCH_BYTES / 16)) return t;
  t.parts[2] = larger(s->pixels[2] / row, 1);
  if (outer < 2) {
    int64_t n = s->pixels[outer], slice = s->cells / n / s->pixels[2] * row * bytes;
    int64_t least = larger(SMALLEST, s->shape[outer]), room = PATCH_BYTES / slice - t.depth * (s->shape[outer] - 1);
    int64_t parts = round_up(n / larger(room, least) + 1, threads);
    t.parts[outer] = larger(smaller(parts, n / least), 1);
  }
  t.tiles = t.parts[0] * t.parts[1] * t.parts[2];
  return t;
}

/* Rows are cut where blocks of rows end, so that no tile overshoots into another. */
static Region tile_at(const Tiling *t, const Stack *s, int64_t index) {
  Region r;
  for (int a = 2; a >= 0; a--) {
    int64_t i = index % t->parts[a], n = s->pixels[a], unit = a == 1 ? ROWS : 1;
    index /= t->parts[a];
    r.first[a] = i * n / t->parts[a] / unit * unit;
    r.last[a] = i + 1 == t->parts[a] ? n : (i + 1) * n / t->parts[a] / unit * unit;
  }
  return r;
}

enum { LARGE_PAGE = 1 << 21 };

/* Large pages where there are some: to touch new small ones costs as much as several layers. */
static void want_large_pages(void *memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  uintptr_t first = round_up((uintptr_t)memory, LARGE_PAGE), last = ((uintptr_t)memory + bytes) / LARGE_PAGE * LARGE_PAGE;
  if (first < last) madvise((void *)first, last - first, MADV_HUGEPAGE);
#endif
}

static void *aligned_memory(size_t bytes) {
  size_t page = bytes < 2 * LARGE_PAGE ? 1 << 12 : LARGE_PAGE, size = (bytes / page + 1) * page;
  void *memory = aligned_alloc(page, size);
  if (memory) want_large_pages(memory, size);
  return memory;
}

typedef struct {
  void *memory;
  size_t size;
} Store;

/* Memory that a thread keeps for its next call, zeroed at first so that no old NaN slows it down. */
static void *kept(Store *store, size_t bytes) {
  if (bytes > store->size) {
    free(store->memory);
    store->memory = aligned_memory(bytes);
    store->size = store->memory ? bytes : 0;
    if (store->memory) memset(store->memory, 0, bytes);
  }
  return store->memory;
}

/* Memory for patches, whose size is bounded. */
static void *scratch(size_t bytes) {
  static _Thread_local Store store;
  void *memory = kept(&store, bytes);
  if (!memory) abort();
  return memory;
}

/* Memory for whole fields, which whoever needs it next takes up: new pages cost as much as a pass over them. */
static Store *_Atomic idle[64];

static Store *take_store(size_t bytes) {
  Store *store = 0;
  for (int i = 0; i < 64 && !store; i++) store = atomic_exchange(&idle[i], (Store *)0);
  if (!store) store = calloc(1, sizeof *store);
  if (store && !kept(store, bytes)) {
    free(store);
    store = 0;
  }
  return store;
}

static void give_back(Store *store) {
  enum { MOST_KEPT = 1 << 27 };
  for (int i = 0; i < 64 && store->size <= MOST_KEPT; i++) {
    Store *none = 0;
    if (atomic_compare_exchange_strong(&idle[i], &none, store)) return;
  }
  free(store->memory);
  free(store);
}

/* Threads that take the pieces of one job after another: the caller, and helpers from XLA's pool. The caller
   waits only for pieces that a helper has begun, so a pool too busy to send helpers can't block it. */
typedef struct {
  void (*work)(void *, int64_t);
  void *job;
  int64_t base;
  _Atomic int64_t next, limit, done;
  _Atomic int open, users;
  int threads;
} Crew;

static int take_piece(Crew *c) {
  int64_t piece = atomic_load_explicit(&c->next, memory_order_relaxed);
  while (piece < atomic_load_explicit(&c->limit, memory_order_acquire))
    if (atomic_compare_exchange_weak(&c->next, &piece, piece + 1)) {
      c->work(c->job, piece - c->base);
      atomic_fetch_add_explicit(&c->done, 1, memory_order_release);
      return 1;
    }
  return 0;
}

static void wait_a_little(int *turns) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
  if (++*turns % 256 == 0) sched_yield();
}

static void leave(Crew *c) {
  if (atomic_fetch_sub(&c->users, 1) == 1) free(c);
}

static void help(void *data) {
  Crew *c = data;
  int turns = 0;
  while (atomic_load_explicit(&c->open, memory_order_acquire))
    if (!take_piece(c)) wait_a_little(&turns);
  leave(c);
}

/* Runs work(job, 0 .. pieces - 1) and returns when all are done. */
static void share(Crew *c, int64_t pieces, void (*work)(void *, int64_t), void *job) {
  if (!c || pieces == 1) {
    for (int64_t i = 0; i < pieces; i++) work(job, i);
    return;
  }
  c->work = work, c->job = job, c->base = c->limit;
  int64_t limit = c->base + pieces;
  atomic_store_explicit(&c->limit, limit, memory_order_release);
  while (take_piece(c)) {
  }
  for (int turns = 0; atomic_load_explicit(&c->done, memory_order_acquire) < limit;) wait_a_little(&turns);
}

#define REAL float
#define NAME(x) x##_float
#include "sweeps.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "sweeps.h"

static XLA_FFI_Error *failure(XLA_FFI_CallFrame *frame, XLA_FFI_Error_Code code, const char *message) {
  XLA_FFI_Error_Create_Args args = {.struct_size = sizeof args, .message = message, .errc = code};
  return frame->api->XLA_FFI_Error_Create(&args);
}

/* A crew of all threads that XLA has for this, or none for work too small to share. */
static Crew *gather(XLA_FFI_CallFrame *frame, double work) {
  int64_t threads = 1;
  XLA_FFI_ThreadPool_NumThreads_Args asked = {.struct_size = sizeof asked, .ctx = frame->ctx, .num_threads = &threads};
  if (work < 1e5 || frame->api->XLA_FFI_ThreadPool_NumThreads(&asked) || threads < 2) return 0;
  Crew *c = calloc(1, sizeof *c);
  if (!c) return 0;
  c->threads = (int)smaller(threads, 64);
  c->open = 1;
  c->users = c->threads;
  for (int i = 1; i < c->threads; i++) {
    XLA_FFI_ThreadPool_Schedule_Args task = {.struct_size = sizeof task, .ctx = frame->ctx, .task = help, .data = c};
    if (frame->api->XLA_FFI_ThreadPool_Schedule(&task)) leave(c);
  }
  return c;
}

static const void *attribute(XLA_FFI_CallFrame *frame, const char *name) {
  for (int64_t i = 0; i < frame->attrs.size; i++) {
    const XLA_FFI_ByteSpan *given = frame->attrs.names[i];
    if (given->len == strlen(name) && !strncmp(given->ptr, name, given->len) && frame->attrs.types[i] == XLA_FFI_AttrType_ARRAY)
      return ((XLA_FFI_Array *)frame->attrs.attrs[i])->data;
  }
  return 0;
}

static Stack stack_of(const int64_t *numbers, const double *slopes, const XLA_FFI_Buffer *kernels, const XLA_FFI_Buffer *values) {
  int64_t d = numbers[0];
  Stack s = {.cells = 1, .taps = 1, .layers = numbers[1], .boundary = (int)numbers[2], .renew = numbers[3], .stacked = (int)numbers[4],
             .slope = slopes[0], .at_zero = slopes[1]};
  for (int a = 0; a < 3; a++) {
    int there = a >= 3 - d;
    s.pixels[a] = there ? values->dims[values->rank - 3 + a] : 1;
    s.shape[a] = there ? kernels->dims[kernels->rank - 3 + a] : 1;
    s.below[a] = s.shape[a] / 2;
    s.above[a] = (s.shape[a] - 1) / 2;
    s.cells *= s.pixels[a];
    s.taps *= s.shape[a];
  }
  return s;
}

static XLA_FFI_Error *run(XLA_FFI_CallFrame *frame, int reverse) {
  if (frame->extension_start && frame->extension_start->type == XLA_FFI_Extension_Metadata) {
    XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)frame->extension_start)->metadata;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    metadata->traits = 0;
    return 0;
  }
  if (frame->stage != XLA_FFI_ExecutionStage_EXECUTE) return 0;
  XLA_FFI_Buffer **args = (XLA_FFI_Buffer **)frame->args.args, **rets = (XLA_FFI_Buffer **)frame->rets.rets;
  const int64_t *numbers = attribute(frame, "numbers");
  const double *slopes = attribute(frame, "slopes");
  if (!numbers || !slopes || frame->args.size != (reverse ? 4 : 2) || frame->rets.size != 2)
    return failure(frame, XLA_FFI_Error_Code_INVALID_ARGUMENT, "infomech: operands or attributes are missing");
  const XLA_FFI_Buffer *kernels = args[0], *values = args[1];
  Stack s = stack_of(numbers, slopes, kernels, values);
  int64_t fields = 1;
  for (int64_t i = 0; i < values->rank - numbers[0]; i++) fields *= values->dims[i];
  if (s.taps > MAX_TAPS || kernels->dtype != values->dtype)
    return failure(frame, XLA_FFI_Error_Code_INVALID_ARGUMENT, "infomech: kernels don't fit the values");
  want_large_pages(rets[reverse ? 1 : 0]->data, fields * s.cells * (values->dtype == XLA_FFI_DataType_F32 ? 4 : 8));
  Crew *crew = gather(frame, (double)fields * s.cells * s.taps * s.layers);
  int failed;
#define BATCH(real) { \
    Batch_##real b = {.s = &s, .kernels = kernels->data, .in = values->data, .g = reverse ? args[3]->data : 0, \
                      .dk = reverse ? rets[0]->data : 0, .out = rets[reverse ? 1 : 0]->data, \
                      .exponents = reverse ? args[2]->data : rets[1]->data, .crew = crew, .wanted = (int)numbers[5]}; \
    failed = batch_##real(&b, fields); \
  }
  if (values->dtype == XLA_FFI_DataType_F32) BATCH(float)
  else if (values->dtype == XLA_FFI_DataType_F64) BATCH(double)
  else failed = -1;
#undef BATCH
  if (crew) {
    atomic_store_explicit(&crew->open, 0, memory_order_release);
    leave(crew);
  }
  if (failed < 0) return failure(frame, XLA_FFI_Error_Code_INVALID_ARGUMENT, "infomech: neither float32 nor float64");
  if (failed) return failure(frame, XLA_FFI_Error_Code_RESOURCE_EXHAUSTED, "infomech: out of memory");
  return 0;
}

XLA_FFI_Error *infomech_forward(XLA_FFI_CallFrame *frame) { return run(frame, 0); }
XLA_FFI_Error *infomech_reverse(XLA_FFI_CallFrame *frame) { return run(frame, 1); }
