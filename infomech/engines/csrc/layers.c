/* Layers of rectified convolution on the CPU, called by XLA as typed foreign functions.

   infomech_forward(kernels, values) -> (values', exponents): the field after all layers is
   values' * 2^exponents. infomech_reverse(kernels, values, exponents, g) -> (dL/dkernels, dL/dvalues).
   Leading axes of the operands are a batch with separate kernels for each field. */

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
enum { WIDEST = 4, MAX_TAPS = 512, DOTS = 25 };
/* The build defines the boundary rules ZERO, PERIODIC and REFLECT as their numbers. */
#define UNROLL _Pragma("GCC unroll 64")

typedef struct {
  int64_t first[3], last[3]; /* first <= i < last on each axis */
} Region;

/* Fields of one to three axes, their kernels and layers; missing axes have one cell. */
typedef struct {
  int64_t shape[3], kernel_size[3], below[3], above[3], cells, taps, steps, interval;
  int boundary, stacked;
  double slope, at_zero; /* slope of the rectifier below 0, and its derivative at 0 */
} Stack;

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Index of the cell whose value the boundary rule assigns to cell i; -1 for a value of 0. */
static inline int64_t source(int64_t i, int64_t n, int boundary) {
  if (i >= 0 && i < n) return i;
  if (boundary == ZERO) return -1;
  int64_t period = boundary == PERIODIC ? n : larger(2 * (n - 1), 1);
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

/* Largest e with 2^e <= size, clipped so that 2^-e fits into `bytes` bytes; 0 for a dead or nonfinite field. */
static int64_t exponent_of(double size, size_t bytes) {
  int64_t limit = bytes == sizeof(float) ? 120 : 1000;
  return size > 0 && isfinite(size) ? larger(-limit, smaller(limit, ilogb(size))) : 0;
}

static int whole_axis(const Stack *s, const Region *tile, int a) {
  return tile->first[a] == 0 && tile->last[a] == s->shape[a];
}

/* The cells that `more` further layers need, clipped to the domain. */
static Region computed(const Stack *s, const Region *tile, int64_t more) {
  Region r = *tile;
  for (int a = 0; a < 3; a++) {
    if (whole_axis(s, tile, a)) continue;
    r.first[a] -= more * s->below[a];
    r.last[a] += more * s->above[a];
    if (s->boundary == PERIODIC) continue;
    r.first[a] = larger(r.first[a], 0);
    r.last[a] = smaller(r.last[a], s->shape[a]);
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

/* Division of a field into tiles; a tile runs `depth` layers before it is written back. */
typedef struct {
  int64_t parts[3], tiles, depth;
} Tiling;

static Tiling divide(const Stack *s, int64_t bytes, int threads, int64_t layers, int whole_rows) {
  enum { PATCH_BYTES = 1 << 18, MIN_LENGTH = 16, LONG_ROW_BYTES = 1 << 16, ROW_BYTES = 1 << 12 };
  int outer = s->shape[0] > 1 ? 0 : s->shape[1] > 1 ? 1 : 2;
  Tiling t = {.parts = {1, 1, 1}, .tiles = 1};
  /* halos limit the depth */
  int64_t max_depth = outer == 0 ? 2 : outer == 1 ? larger(16 / larger(s->kernel_size[1] - 1, 2), 1) : 16;
  max_depth = smaller(s->interval ? smaller(s->interval, max_depth) : max_depth, layers);
  if (outer == 2) whole_rows = 0;
  int64_t size = s->cells * bytes, chunks = (layers + max_depth - 1) / max_depth;
  int64_t row = whole_rows ? s->shape[2] : smaller(s->shape[2], (outer == 2 ? LONG_ROW_BYTES : ROW_BYTES) / bytes);
  t.depth = s->interval ? max_depth : (layers + chunks - 1) / chunks;
  if (size <= PATCH_BYTES && (threads == 1 || size < PATCH_BYTES / 16)) return t;
  t.parts[2] = larger(s->shape[2] / row, 1);
  if (outer < 2) {
    int64_t n = s->shape[outer], slice = s->cells / n / s->shape[2] * row * bytes;
    int64_t minimum = larger(MIN_LENGTH, s->kernel_size[outer]);
    int64_t available = PATCH_BYTES / slice - t.depth * (s->kernel_size[outer] - 1);
    int64_t parts = round_up(n / larger(available, minimum) + 1, threads);
    t.parts[outer] = larger(smaller(parts, n / minimum), 1);
  }
  t.tiles = t.parts[0] * t.parts[1] * t.parts[2];
  return t;
}

/* Tiles end where blocks of rows end: no tile overshoots into another. */
static Region tile_at(const Tiling *t, const Stack *s, int64_t index) {
  Region r;
  for (int a = 2; a >= 0; a--) {
    int64_t i = index % t->parts[a], n = s->shape[a], unit = a == 1 ? ROWS : 1;
    index /= t->parts[a];
    r.first[a] = i * n / t->parts[a] / unit * unit;
    r.last[a] = i + 1 == t->parts[a] ? n : (i + 1) * n / t->parts[a] / unit * unit;
  }
  return r;
}

enum { LARGE_PAGE = 1 << 21 };

/* Use large pages if available: the first touch of small pages costs as much as several layers. */
static void request_large_pages(void *memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  uintptr_t first = round_up((uintptr_t)memory, LARGE_PAGE), last = ((uintptr_t)memory + bytes) / LARGE_PAGE * LARGE_PAGE;
  if (first < last) madvise((void *)first, last - first, MADV_HUGEPAGE);
#endif
}

static void *aligned_memory(size_t bytes) {
  size_t page = bytes < 2 * LARGE_PAGE ? 1 << 12 : LARGE_PAGE, size = (bytes / page + 1) * page;
  void *memory = aligned_alloc(page, size);
  if (memory) request_large_pages(memory, size);
  return memory;
}

typedef struct {
  void *memory;
  size_t size;
} Buffer;

/* Grow a buffer if needed. New memory is zeroed: stale NaN would slow down the arithmetic. */
static void *grow(Buffer *buffer, size_t bytes) {
  if (bytes > buffer->size) {
    free(buffer->memory);
    buffer->memory = aligned_memory(bytes);
    buffer->size = buffer->memory ? bytes : 0;
    if (buffer->memory) memset(buffer->memory, 0, bytes);
  }
  return buffer->memory;
}

/* Memory for patches, kept per thread; its size is bounded. */
static void *scratch(size_t bytes) {
  static _Thread_local Buffer buffer;
  void *memory = grow(&buffer, bytes);
  if (!memory) abort();
  return memory;
}

/* Buffers for whole fields, reused by later calls: new pages cost as much as a pass over them. */
static Buffer *_Atomic free_buffers[64];

static Buffer *acquire_buffer(size_t bytes) {
  Buffer *buffer = 0;
  for (int i = 0; i < 64 && !buffer; i++) buffer = atomic_exchange(&free_buffers[i], (Buffer *)0);
  if (!buffer) buffer = calloc(1, sizeof *buffer);
  if (buffer && !grow(buffer, bytes)) {
    free(buffer);
    buffer = 0;
  }
  return buffer;
}

static void release_buffer(Buffer *buffer) {
  enum { MAX_KEPT = 1 << 27 };
  for (int i = 0; i < 64 && buffer->size <= MAX_KEPT; i++) {
    Buffer *none = 0;
    if (atomic_compare_exchange_strong(&free_buffers[i], &none, buffer)) return;
  }
  free(buffer->memory);
  free(buffer);
}

/* Threads that take the tasks of successive jobs: the caller, and workers from XLA's pool. The caller waits
   only for tasks that a worker has started, so a busy pool without free workers can't block it. */
typedef struct {
  void (*work)(void *, int64_t);
  void *job;
  int64_t base;
  _Atomic int64_t next, limit, done;
  _Atomic int open, users;
  int threads;
} Team;

static int take_task(Team *team) {
  int64_t task = atomic_load_explicit(&team->next, memory_order_relaxed);
  while (task < atomic_load_explicit(&team->limit, memory_order_acquire))
    if (atomic_compare_exchange_weak(&team->next, &task, task + 1)) {
      team->work(team->job, task - team->base);
      atomic_fetch_add_explicit(&team->done, 1, memory_order_release);
      return 1;
    }
  return 0;
}

static void spin(int *turns) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
  if (++*turns % 256 == 0) sched_yield();
}

static void release_team(Team *team) {
  if (atomic_fetch_sub(&team->users, 1) == 1) free(team);
}

static void worker(void *data) {
  Team *team = data;
  int turns = 0;
  while (atomic_load_explicit(&team->open, memory_order_acquire))
    if (!take_task(team)) spin(&turns);
  release_team(team);
}

/* Run work(job, 0 .. tasks - 1) and return when all are done. */
static void run_tasks(Team *team, int64_t tasks, void (*work)(void *, int64_t), void *job) {
  if (!team || tasks == 1) {
    for (int64_t i = 0; i < tasks; i++) work(job, i);
    return;
  }
  team->work = work, team->job = job, team->base = team->limit;
  int64_t limit = team->base + tasks;
  atomic_store_explicit(&team->limit, limit, memory_order_release);
  while (take_task(team)) {
  }
  for (int turns = 0; atomic_load_explicit(&team->done, memory_order_acquire) < limit;) spin(&turns);
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

/* A team of all of XLA's threads, or none if the work is too small to divide. */
static Team *form_team(XLA_FFI_CallFrame *frame, double work) {
  int64_t threads = 1;
  XLA_FFI_ThreadPool_NumThreads_Args query = {.struct_size = sizeof query, .ctx = frame->ctx, .num_threads = &threads};
  if (work < 1e5 || frame->api->XLA_FFI_ThreadPool_NumThreads(&query) || threads < 2) return 0;
  Team *team = calloc(1, sizeof *team);
  if (!team) return 0;
  team->threads = (int)smaller(threads, 64);
  team->open = 1;
  team->users = team->threads;
  for (int i = 1; i < team->threads; i++) {
    XLA_FFI_ThreadPool_Schedule_Args task = {.struct_size = sizeof task, .ctx = frame->ctx, .task = worker, .data = team};
    if (frame->api->XLA_FFI_ThreadPool_Schedule(&task)) release_team(team);
  }
  return team;
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
  Stack s = {.cells = 1, .taps = 1, .steps = numbers[1], .boundary = (int)numbers[2], .interval = numbers[3], .stacked = (int)numbers[4],
             .slope = slopes[0], .at_zero = slopes[1]};
  for (int a = 0; a < 3; a++) {
    int exists = a >= 3 - d;
    s.shape[a] = exists ? values->dims[values->rank - 3 + a] : 1;
    s.kernel_size[a] = exists ? kernels->dims[kernels->rank - 3 + a] : 1;
    s.below[a] = s.kernel_size[a] / 2;
    s.above[a] = (s.kernel_size[a] - 1) / 2;
    s.cells *= s.shape[a];
    s.taps *= s.kernel_size[a];
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
  request_large_pages(rets[reverse ? 1 : 0]->data, fields * s.cells * (values->dtype == XLA_FFI_DataType_F32 ? 4 : 8));
  Team *team = form_team(frame, (double)fields * s.cells * s.taps * s.steps);
  int failed;
#define BATCH(real) { \
    Batch_##real b = {.s = &s, .kernels = kernels->data, .in = values->data, .g = reverse ? args[3]->data : 0, \
                      .dk = reverse ? rets[0]->data : 0, .out = rets[reverse ? 1 : 0]->data, \
                      .exponents = reverse ? args[2]->data : rets[1]->data, .team = team, .need_dk = (int)numbers[5]}; \
    failed = batch_##real(&b, fields); \
  }
  if (values->dtype == XLA_FFI_DataType_F32) BATCH(float)
  else if (values->dtype == XLA_FFI_DataType_F64) BATCH(double)
  else failed = -1;
#undef BATCH
  if (team) {
    atomic_store_explicit(&team->open, 0, memory_order_release);
    release_team(team);
  }
  if (failed < 0) return failure(frame, XLA_FFI_Error_Code_INVALID_ARGUMENT, "infomech: neither float32 nor float64");
  if (failed) return failure(frame, XLA_FFI_Error_Code_RESOURCE_EXHAUSTED, "infomech: out of memory");
  return 0;
}

XLA_FFI_Error *infomech_forward(XLA_FFI_CallFrame *frame) { return run(frame, 0); }
XLA_FFI_Error *infomech_reverse(XLA_FFI_CallFrame *frame) { return run(frame, 1); }
