/* Layers of rectified convolution on one field of REAL, forward and reverse; included once per type.

   A patch is a buffer with one tile of the field and the halo that the next layers read. Its rows start
   aligned and may be overshot: all loops run over whole vectors. A patch runs several layers while it
   stays in the cache; after each layer the cells outside the domain are refilled. */

#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))
typedef REAL NAME(Vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
#define VEC NAME(Vector)

typedef struct {
  REAL *cells;
  Region region;
  int64_t row, plane, shift, size, overshoot; /* cells behind a row's halo that no other row uses */
} NAME(Patch);
#define PATCH NAME(Patch)

static inline REAL *NAME(at)(const PATCH *p, int64_t z, int64_t y, int64_t x) {
  return p->cells + (z - p->region.first[0]) * p->plane + (y - p->region.first[1]) * p->row +
         (x - p->region.first[2]) + p->shift;
}

/* Layout of a patch for a region around a tile with columns `start` to `end`. If rows are surrounded by
   zeros, the end of one row and the start of the next share one vector of zeros: more of a small field
   then fits into the first-level cache. */
static PATCH NAME(layout)(const Region *region, int64_t start, int64_t end, int zeros_around) {
  int64_t left = start - region->first[2], right = region->last[2] - end;
  PATCH p = {.region = *region};
  if (zeros_around && left + right <= LANES) {
    p.shift = LANES - left;
    p.row = round_up(end - start, LANES) + LANES;
  } else {
    p.overshoot = LANES;
    p.shift = round_up(left + LANES, LANES) - left;
    p.row = round_up(p.shift + region->last[2] - region->first[2] + LANES, LANES);
  }
  if (p.row * (int64_t)sizeof(REAL) % 1024 == 0) p.row += LANES; /* keeps rows in different cache sets */
  p.plane = p.row * (region->last[1] - region->first[1] + ROWS);
  p.size = p.plane * (region->last[0] - region->first[0]) + 2 * LANES;
  return p;
}

/* Load a field u as it is, as phi(u), or as g phi'(u). */
typedef struct {
  const REAL *u, *g;
  int rectified;
} NAME(Source);

/* Load cells of a row. Slopes are copied first: the compiler must assume that `to` aliases them. */
static void NAME(load_cells)(REAL *restrict to, const Stack *s, const NAME(Source) *from, int64_t offset, int64_t n) {
  const REAL *restrict u = from->u + offset, *restrict g = from->g ? from->g + offset : 0;
  const REAL slope = (REAL)s->slope, at_zero = (REAL)s->at_zero;
  if (g)
    for (int64_t x = 0; x < n; x++) to[x] = g[x] * (u[x] > 0 ? 1 : u[x] < 0 ? slope : at_zero);
  else if (from->rectified)
    for (int64_t x = 0; x < n; x++) to[x] = u[x] < 0 ? slope * u[x] : u[x];
  else
    memcpy(to, u, n * sizeof(REAL));
}

/* Fill a patch from a field, by the boundary rule outside the domain. */
static void NAME(load)(const PATCH *p, const Stack *s, const NAME(Source) *from, int boundary) {
  const int64_t *n = s->shape, first = p->region.first[2], last = p->region.last[2];
  int64_t inner = larger(first, 0), outer = smaller(last, n[2]);
  for (int64_t z = p->region.first[0]; z < p->region.last[0]; z++)
    for (int64_t y = p->region.first[1]; y < p->region.last[1]; y++) {
      REAL *row = NAME(at)(p, z, y, 0);
      int64_t sz = source(z, n[0], boundary), sy = source(y, n[1], boundary);
      memset(row + last, 0, LANES * sizeof(REAL));
      if (sz < 0 || sy < 0) {
        memset(row + first, 0, (last - first) * sizeof(REAL));
        continue;
      }
      int64_t offset = (sz * n[1] + sy) * n[2];
      NAME(load_cells)(row + inner, s, from, offset + inner, outer - inner);
      for (int64_t x = first; x < last; x++) {
        if (x == inner) x = outer;
        if (x >= last) break;
        int64_t sx = source(x, n[2], boundary);
        if (sx < 0) row[x] = 0;
        else NAME(load_cells)(row + x, s, from, offset + sx, 1);
      }
    }
}

static void NAME(store)(const PATCH *p, const Stack *s, const Region *tile, REAL *field) {
  size_t width = (tile->last[2] - tile->first[2]) * sizeof(REAL);
  for (int64_t z = tile->first[0]; z < tile->last[0]; z++)
    for (int64_t y = tile->first[1]; y < tile->last[1]; y++)
      memcpy(field + (z * s->shape[1] + y) * s->shape[2] + tile->first[2],
             NAME(at)(p, z, y, tile->first[2]), width);
}

/* Fill the cells before and behind the known ones of each row; whole vectors at a time if the values are
   all 0 or contiguous elsewhere in the row. */
static void NAME(fill_rows)(const PATCH *p, const Stack *s, const Region *known, int64_t first, int64_t last, int boundary) {
  const int64_t *a = known->first, *e = known->last, n = s->shape[2], before = a[2] - first, after = last - e[2];
  int whole = a[2] == 0 && e[2] == n, near = before <= LANES && after <= LANES;
  int64_t count = 0, cells[2 * MAX_TAPS], from[2 * MAX_TAPS]; /* two halos at each end */
  if (before == 0 && after == 0) return;
  for (int64_t z = a[0]; z < e[0] && near && (boundary == ZERO || (boundary == PERIODIC && whole && n >= LANES)); z++) {
    const int64_t step = p->row, rows = e[1] - a[1], width = e[2] - a[2];
    REAL *row = NAME(at)(p, z, a[1], a[2]);
    for (int64_t y = 0; y < rows; y++, row += step) {
      VEC left = boundary == ZERO ? (VEC){0} : *(const VEC *)(row + width - LANES);
      VEC right = boundary == ZERO ? (VEC){0} : *(const VEC *)row;
      if (before) *(VEC *)(row - LANES) = left;
      if (after) *(VEC *)(row + width) = right;
    }
    if (z + 1 == e[0]) return;
  }
  for (int64_t x = first; x < last; x++) {
    if (x == a[2]) x = e[2];
    if (x >= last) break;
    cells[count] = x;
    from[count++] = source(x, n, boundary);
  }
  for (int64_t z = a[0]; z < e[0]; z++)
    for (int64_t y = a[1]; y < e[1]; y++) {
      REAL *row = NAME(at)(p, z, y, 0);
      for (int64_t i = 0; i < count; i++) row[cells[i]] = from[i] < 0 ? 0 : row[from[i]];
    }
}

/* Fill the cells of `needed` outside `known` from those in `known`, by the boundary rule. */
static void NAME(fill)(const PATCH *p, const Stack *s, const Region *known, const Region *needed,
                       int boundary) {
  const int64_t *a = known->first, *e = known->last, *na = needed->first, *ne = needed->last;
  NAME(fill_rows)(p, s, known, na[2], ne[2], boundary);
  size_t width = (ne[2] - na[2] + p->overshoot) * sizeof(REAL);
  for (int64_t z = na[0]; z < ne[0]; z++) {
    int plane_known = z >= a[0] && z < e[0]; /* even beyond a periodic domain */
    int64_t fz = plane_known ? z : source(z, s->shape[0], boundary);
    for (int64_t y = na[1]; y < ne[1]; y++) {
      if (plane_known && y == a[1]) y = e[1];
      if (y >= ne[1]) break;
      int row_known = y >= a[1] && y < e[1];
      int64_t fy = row_known ? y : source(y, s->shape[1], boundary);
      REAL *row = NAME(at)(p, z, y, na[2]);
      if ((fz < 0 && !plane_known) || (fy < 0 && !row_known)) memset(row, 0, width);
      else memcpy(row, NAME(at)(p, fz, fy, na[2]), width);
    }
  }
}

/* Last operation of a layer. Forward: phi(sum), with the sum itself stored in `sums` if that is given.
   Reverse: sum times phi'(input) if `input` is given; only its sign matters, which the rectifier's output
   shares except for the modulus. Their patches have the layout of the one written to. */
typedef struct {
  REAL slope, at_zero;
  REAL *sums;
  const REAL *input;
} NAME(Ending);

static inline __attribute__((always_inline)) VEC NAME(choose)(__typeof__((VEC){0} < 0) mask, VEC yes, VEC no) {
  return (VEC)(((__typeof__(mask))yes & mask) | ((__typeof__(mask))no & ~mask));
}

static inline __attribute__((always_inline)) void NAME(finish)(
    const VEC *sum, REAL *restrict out, int64_t to_row, int64_t at, const int rows, const int columns,
    const NAME(Ending) *end) {
  if (end->sums)
    UNROLL for (int i = 0; i < rows * columns; i++)
      *(VEC *)(end->sums + at + i / columns * to_row + i % columns * LANES) = sum[i];
  if (end->input)
    UNROLL for (int i = 0; i < rows * columns; i++) {
      int64_t offset = i / columns * to_row + i % columns * LANES;
      VEC s = *(const VEC *)(end->input + at + offset);
      VEC low = NAME(choose)(s < 0, sum[i] * end->slope, sum[i] * end->at_zero);
      *(VEC *)(out + offset) = NAME(choose)(s > 0, sum[i], low);
    }
  else
    UNROLL for (int i = 0; i < rows * columns; i++) { /* compiles to one maximum instruction; NaN propagates */
      VEC low = end->slope == 0 ? (VEC){0} : end->slope * sum[i];
      *(VEC *)(out + i / columns * to_row + i % columns * LANES) = NAME(choose)(low > sum[i], low, sum[i]);
    }
}

/* Groups of rows of one layer that are computed together: pointers to the first group, and strides. */
typedef struct {
  REAL *restrict out;
  const REAL *restrict in, *taps;
  const int64_t *kernel_size;
  int64_t to_row, row, plane, width, groups, at;
  NAME(Ending) end;
} NAME(Rows);

/* sum_j taps[j] in[x + j] at `columns` vectors of `rows` rows. p1 and p2 are compile-time constants; `near`
   holds the taps in registers if they are few. */
static inline __attribute__((always_inline)) void NAME(block)(
    const NAME(Rows) *l, int64_t x, const VEC *near, const int p1, const int p2, const int rows, const int columns) {
  VEC sum[ROWS * WIDEST];
  UNROLL for (int i = 0; i < rows * columns; i++) sum[i] = (VEC){0};
  for (int64_t a = 0; a < (near ? 1 : l->kernel_size[0]); a++) {
    const REAL *taps = l->taps + a * p1 * p2, *cell = l->in + x + a * l->plane;
    UNROLL for (int i = 0; i < rows + p1 - 1; i++)
      UNROLL for (int c = 0; c < p2; c++)
        UNROLL for (int v = 0; v < columns; v++) {
          VEC u = *(const VEC *)(cell + i * l->row + c + v * LANES);
          UNROLL for (int j = 0; j < rows; j++) {
            int b = i - j;
            if (b < 0 || b >= p1) continue;
            if (near) sum[j * columns + v] += near[b * p2 + c] * u;
            else sum[j * columns + v] += taps[b * p2 + c] * u;
          }
        }
  }
  NAME(finish)(sum, l->out + x, l->to_row, l->at + x, rows, columns, &l->end);
}

/* The same for any kernel size. */
static inline __attribute__((always_inline)) void NAME(any_block)(
    const NAME(Rows) *l, int64_t x, const int rows, const int columns) {
  VEC sum[ROWS * WIDEST];
  const REAL *tap = l->taps;
  UNROLL for (int i = 0; i < rows * columns; i++) sum[i] = (VEC){0};
  for (int64_t a = 0; a < l->kernel_size[0]; a++)
    for (int64_t b = 0; b < l->kernel_size[1]; b++)
      for (int64_t c = 0; c < l->kernel_size[2]; c++, tap++) {
        const REAL *cell = l->in + x + a * l->plane + b * l->row + c;
        UNROLL for (int i = 0; i < rows * columns; i++)
          sum[i] += *tap * *(const VEC *)(cell + i / columns * l->row + i % columns * LANES);
      }
  NAME(finish)(sum, l->out + x, l->to_row, l->at + x, rows, columns, &l->end);
}

/* One function per kernel size. The empty asm hides the start of a group from the compiler. Otherwise it
   carries so many addresses from one group to the next that short rows take twice as long. */
#define ALL_GROUPS(rows, columns, block, ...) \
  for (int64_t left = l.groups; left > 0; left--) { \
    int64_t x = 0; \
    __asm__ volatile("" : "+r"(l.out), "+r"(l.in)); \
    for (; x + (columns - 1) * LANES < l.width; x += columns * LANES) NAME(block)(&l, x, __VA_ARGS__ rows, columns); \
    for (; x < l.width; x += LANES) NAME(block)(&l, x, __VA_ARGS__ rows, 1); \
    l.out += rows * l.to_row, l.in += rows * l.row, l.at += rows * l.to_row; \
  }
#define WITH_TAPS(name, p1, p2, few, rows, columns) \
  static __attribute__((noinline)) void NAME(name)(const NAME(Rows) *given) { \
    NAME(Rows) l = *given; \
    VEC near[few ? p1 * p2 : 1]; \
    if (few) UNROLL for (int i = 0; i < p1 * p2; i++) near[i] = (VEC){0} + l.taps[i]; \
    ALL_GROUPS(rows, columns, block, few ? near : 0, p1, p2,) \
  }
#define WITH_ANY_TAPS(name, rows, columns) \
  static __attribute__((noinline)) void NAME(name)(const NAME(Rows) *given) { \
    NAME(Rows) l = *given; \
    ALL_GROUPS(rows, columns, any_block,) \
  }
WITH_TAPS(row_2, 1, 2, 1, 1, WIDEST)
WITH_TAPS(row_3, 1, 3, 1, 1, WIDEST)
WITH_TAPS(row_5, 1, 5, 1, 1, WIDEST)
WITH_TAPS(rows_2_2, 2, 2, 1, ROWS, COLUMNS)
WITH_TAPS(rows_3_3, 3, 3, 1, ROWS, COLUMNS)
WITH_TAPS(planes_2_2, 2, 2, 0, ROWS, COLUMNS)
WITH_TAPS(planes_3_3, 3, 3, 0, ROWS, COLUMNS)
WITH_TAPS(planes_4_4, 4, 4, 0, ROWS, COLUMNS)
WITH_TAPS(planes_5_5, 5, 5, 0, ROWS, COLUMNS)
WITH_TAPS(planes_7_7, 7, 7, 0, ROWS, COLUMNS)
WITH_ANY_TAPS(any_row, 1, WIDEST)
WITH_ANY_TAPS(any_rows, ROWS, COLUMNS)
#undef WITH_TAPS
#undef WITH_ANY_TAPS
#undef ALL_GROUPS

/* One layer on a region: to[x] = end(sum_j taps[j] from[x - below + j]). */
static void NAME(sweep)(const PATCH *to, const PATCH *from, const Region *r, const int64_t *kernel_size,
                        const int64_t *below, const REAL *taps, const NAME(Ending) *end) {
  static const struct {
    int64_t planes, kernel_size[2], rows; /* planes = 0 matches any number */
    void (*run)(const NAME(Rows) *);
  } known[] = {
      {1, {1, 2}, 1, NAME(row_2)}, {1, {1, 3}, 1, NAME(row_3)}, {1, {1, 5}, 1, NAME(row_5)},
      {1, {2, 2}, ROWS, NAME(rows_2_2)}, {1, {3, 3}, ROWS, NAME(rows_3_3)}, {0, {2, 2}, ROWS, NAME(planes_2_2)},
      {0, {3, 3}, ROWS, NAME(planes_3_3)}, {0, {4, 4}, ROWS, NAME(planes_4_4)}, {0, {5, 5}, ROWS, NAME(planes_5_5)},
      {0, {7, 7}, ROWS, NAME(planes_7_7)},
  };
  int single = r->last[1] - r->first[1] == 1, rows = single ? 1 : ROWS, count = sizeof known / sizeof *known;
  void (*run)(const NAME(Rows) *) = single ? NAME(any_row) : NAME(any_rows);
  for (int i = count - 1; i >= 0; i--)
    if ((!known[i].planes || kernel_size[0] == 1) && kernel_size[1] == known[i].kernel_size[0] && kernel_size[2] == known[i].kernel_size[1])
      run = known[i].run, rows = (int)known[i].rows;
  int64_t start = r->first[2] - (to->shift + r->first[2] - to->region.first[2]) % LANES;
  NAME(Rows) l = {.taps = taps, .kernel_size = kernel_size, .to_row = to->row, .row = from->row, .plane = from->plane,
                  .width = r->last[2] - start, .groups = (r->last[1] - r->first[1] + rows - 1) / rows, .end = *end};
  for (int64_t z = r->first[0]; z < r->last[0]; z++) {
    l.out = NAME(at)(to, z, r->first[1], start);
    l.in = NAME(at)(from, z - below[0], r->first[1] - below[1], start - below[2]);
    l.at = l.out - to->cells;
    run(&l);
  }
}

/* Largest absolute value in a region; NaN is ignored. */
static REAL NAME(largest)(const PATCH *p, const Region *r) {
  int64_t width = r->last[2] - r->first[2], full = width / LANES * LANES;
  VEC high = {0};
  REAL peak = 0;
  for (int64_t z = r->first[0]; z < r->last[0]; z++)
    for (int64_t y = r->first[1]; y < r->last[1]; y++) {
      const REAL *row = NAME(at)(p, z, y, r->first[2]);
      for (int64_t x = 0; x < full; x += LANES) {
        VEC u = *(const VEC *)(row + x), size = NAME(choose)(u < 0, -u, u);
        high = NAME(choose)(size > high, size, high);
      }
      for (int64_t x = full; x < width; x++) {
        REAL size = row[x] < 0 ? -row[x] : row[x];
        peak = size > peak ? size : peak;
      }
    }
  UNROLL for (int l = 0; l < LANES; l++) peak = high[l] > peak ? high[l] : peak;
  return peak;
}

/* The taps of a layer times 2^-exponent, point-reflected for the forward direction. */
static void NAME(scaled)(const Stack *s, const REAL *kernels, int64_t layer, int64_t exponent, int reflect,
                         REAL *to) {
  const REAL *k = kernels + (s->stacked ? layer * s->taps : 0);
  REAL scale = (REAL)ldexp(1, (int)-exponent);
  for (int64_t i = 0; i < s->taps; i++) to[i] = scale * k[reflect ? s->taps - 1 - i : i];
}

/* State of a forward pass that the tiles of one field share. */
typedef struct {
  const Stack *s;
  const Tiling *tiling;
  const REAL *kernels, *in;
  REAL *out, *largest;
  int64_t layer, count, exponent, total;
} NAME(Forward);

/* Between rescalings a field may shrink by half the range of its exponents. If it shrank further, small
   values may be lost, and the layers since the last rescaling are repeated one at a time. */
static const REAL NAME(fade_limit) = sizeof(REAL) == 4 ? (REAL)0x1p-62 : (REAL)0x1p-510;

/* Run `count` layers on one tile. If the tile is the whole field, rescale it every `interval` layers;
   return 0 if it fell below the fade limit before that. */
static int NAME(pass_tile)(NAME(Forward) *job, const Region *tile, PATCH *p, int whole, int64_t interval) {
  const Stack *s = job->s;
  REAL taps[MAX_TAPS];
  NAME(Ending) end = {.slope = (REAL)s->slope};
  int64_t exponent = job->exponent, total = 0;
  NAME(load)(&p[0], s, &(NAME(Source)){.u = job->in}, s->boundary);
  Region known = computed(s, tile, job->count - 1);
  /* zeros around rows of whole vectors are never overwritten once they are in both patches */
  int zeros_persist = s->boundary == ZERO && whole_axis(s, tile, 2) && s->shape[2] % LANES == 0;
  for (int64_t i = 0; i < job->count; i++) {
    const PATCH *current = &p[(i + 1) % 2];
    NAME(scaled)(s, job->kernels, job->layer + i, exponent, 1, taps);
    NAME(sweep)(current, &p[i % 2], &known, s->kernel_size, s->below, taps, &end);
    total += exponent;
    exponent = 0;
    if (whole && s->interval && ((i + 1) % interval == 0 || i + 1 == job->count)) {
      REAL peak = NAME(largest)(current, tile);
      if (interval > 1 && peak < NAME(fade_limit)) return 0;
      exponent = exponent_of(peak, sizeof(REAL));
    }
    if (i + 1 == job->count) break;
    Region next = computed(s, tile, job->count - 2 - i), needed = next;
    for (int a = 0; a < 3; a++) {
      needed.first[a] -= s->below[a];
      needed.last[a] += s->above[a];
    }
    if (i && zeros_persist) needed.first[2] = next.first[2], needed.last[2] = next.last[2];
    NAME(fill)(current, s, &known, &needed, s->boundary);
    known = next;
  }
  if (whole) job->total = total;
  return 1;
}

static void NAME(forward_tile)(void *shared, int64_t index) {
  NAME(Forward) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index), region = halo(s, &tile, job->count);
  int whole = job->tiling->tiles == 1;
  PATCH p[2];
  int zeros_around = s->boundary == ZERO && whole_axis(s, &tile, 2);
  p[0] = p[1] = NAME(layout)(&region, tile.first[2], tile.last[2], zeros_around);
  p[0].cells = scratch(2 * p[0].size * sizeof(REAL));
  p[1].cells = p[0].cells + p[0].size;
  if (!NAME(pass_tile)(job, &tile, p, whole, larger(s->interval, 1))) NAME(pass_tile)(job, &tile, p, whole, 1);
  const PATCH *last = &p[job->count % 2];
  if (!whole && s->interval) job->largest[index] = NAME(largest)(last, &tile);
  NAME(store)(last, s, &tile, job->out);
}

static REAL NAME(peak)(const REAL *largest, int64_t tiles) {
  REAL peak = 0;
  for (int64_t i = 0; i < tiles; i++) peak = largest[i] > peak ? largest[i] : peak;
  return peak;
}

/* All layers of one field; returns e of out * 2^e. `spare` is a second field: tiles alternate between both. */
static int64_t NAME(forward)(const Stack *s, Team *team, const Tiling *tiling, const REAL *kernels,
                             const REAL *in, REAL *out, REAL *spare, REAL *largest) {
  NAME(Forward) job = {.s = s, .tiling = tiling, .kernels = kernels, .largest = largest, .out = out};
  int64_t depth = tiling->tiles == 1 ? s->steps : tiling->depth, chunks = (s->steps + depth - 1) / depth, total = 0;
  const REAL *current = in;
  for (int64_t done = 0, chunk = chunks; done < s->steps; chunk--) {
    int64_t count = smaller(depth, s->steps - done), rescaled = tiling->tiles > 1 && s->interval, retried = 0;
    for (int64_t end = done + count, steps = count; done < end;) {
      job.in = current, job.layer = done, job.count = steps;
      job.out = current == out || (current == in && chunk % 2 == 0) ? spare : out; /* the last chunk usually ends in `out` */
      run_tasks(team, tiling->tiles, NAME(forward_tile), &job);
      REAL peak = rescaled ? NAME(peak)(largest, tiling->tiles) : 1;
      if (peak < NAME(fade_limit) && steps > 1 && !retried) {
        steps = 1, retried = 1;
        continue;
      }
      current = job.out, done += steps;
      total += job.exponent;
      job.exponent = rescaled && done < s->steps ? exponent_of(peak, sizeof(REAL)) : 0;
    }
  }
  if (current != out) memcpy(out, current, s->cells * sizeof(REAL));
  return tiling->tiles > 1 ? total : job.total;
}

/* sum[b][c] += sum of m(x) u(x + (b, c)) over `n` <= LANES cells of `rows` rows. */
static inline __attribute__((always_inline)) void NAME(dots_block)(
    VEC *sum, const REAL *m, int64_t m_row, const REAL *u, int64_t u_row, int64_t n, const int p1,
    const int p2, const int rows) {
  VEC ms[ROWS];
  UNROLL for (int j = 0; j < rows; j++) ms[j] = *(const VEC *)(m + j * m_row);
  if (n < LANES) {
    __typeof__(ms[0] < 0) within;
    UNROLL for (int l = 0; l < LANES; l++) within[l] = -(l < n);
    UNROLL for (int j = 0; j < rows; j++) ms[j] = NAME(choose)(within, ms[j], (VEC){0});
  }
  UNROLL for (int i = 0; i < rows + p1 - 1; i++)
    UNROLL for (int c = 0; c < p2; c++) {
      VEC v = *(const VEC *)(u + i * u_row + c);
      UNROLL for (int j = 0; j < rows; j++)
        if (i - j >= 0 && i - j < p1) sum[(i - j) * p2 + c] += ms[j] * v;
    }
}

/* to[b][c] += sum of m(x) u(x - below + (a, b, c)) over a tile, for one plane a of taps. */
static inline __attribute__((always_inline)) void NAME(dots)(const PATCH *m, const PATCH *u, const Region *r,
                                                             const int64_t *below, int64_t a, const int p1,
                                                             const int p2, const int rows, double *to) {
  VEC sum[DOTS];
  int64_t width = r->last[2] - r->first[2], full = width / LANES * LANES;
  UNROLL for (int i = 0; i < p1 * p2; i++) sum[i] = (VEC){0};
  for (int64_t z = r->first[0]; z < r->last[0]; z++)
    for (int64_t y = r->first[1]; y < r->last[1];) {
      const REAL *ms = NAME(at)(m, z, y, r->first[2]);
      const REAL *us = NAME(at)(u, z - below[0] + a, y - below[1], r->first[2] - below[2]);
      int64_t x = 0;
      if (y + rows <= r->last[1]) {
        for (; x < full; x += LANES) NAME(dots_block)(sum, ms + x, m->row, us + x, u->row, LANES, p1, p2, rows);
        if (x < width) NAME(dots_block)(sum, ms + x, m->row, us + x, u->row, width - x, p1, p2, rows);
        y += rows;
      } else {
        for (; x < full; x += LANES) NAME(dots_block)(sum, ms + x, m->row, us + x, u->row, LANES, p1, p2, 1);
        if (x < width) NAME(dots_block)(sum, ms + x, m->row, us + x, u->row, width - x, p1, p2, 1);
        y++;
      }
    }
  UNROLL for (int i = 0; i < p1 * p2; i++) {
    REAL lanes[LANES];
    VEC copy = sum[i]; /* a copy keeps the sums in registers until here */
    memcpy(lanes, &copy, sizeof lanes);
    for (int64_t l = 0; l < LANES; l++) to[i] += (double)lanes[l];
  }
}

/* All taps of a plane at once if they are few, else up to AT_ONCE taps of a row at a time. */
static void NAME(all_dots)(const PATCH *m, const PATCH *u, const Region *r, const Stack *s, double *to) {
  enum { AT_ONCE = 5 };
#define CASE(condition, p1, p2, offsets, rows, sums) \
  if (condition) { \
    NAME(dots)(m, u, r, offsets, a, p1, p2, rows, sums); \
    continue; \
  }
#define PLANE(p, rows) CASE(s->kernel_size[1] == p && s->kernel_size[2] == p, p, p, s->below, rows, to)
#define PART(p) CASE(n == p, 1, p, below, 1, to + b * s->kernel_size[2] + c)
  for (int64_t a = 0; a < s->kernel_size[0]; a++, to += s->kernel_size[1] * s->kernel_size[2]) {
    PLANE(2, ROWS) PLANE(3, ROWS) PLANE(4, 2) PLANE(5, 2)
    for (int64_t b = 0; b < s->kernel_size[1]; b++)
      for (int64_t c = 0; c < s->kernel_size[2]; c += AT_ONCE) {
        int64_t below[3] = {s->below[0], s->below[1] - b, s->below[2] - c}, n = smaller(s->kernel_size[2] - c, AT_ONCE);
        PART(1) PART(2) PART(3) PART(4) PART(5)
      }
  }
#undef CASE
#undef PLANE
#undef PART
}

/* Add the cells beyond a mirror to the cells that they mirror. */
static void NAME(fold)(const PATCH *p, const Stack *s, const Region *r) {
  Region left = *r;
  for (int a = 2; a >= 0; a--) {
    int64_t n = s->shape[a], from[3];
    for (int end = 0; end < 2; end++) {
      int64_t first = end ? larger(n, left.first[a]) : left.first[a];
      int64_t last = end ? left.last[a] : smaller(0, left.last[a]);
      for (int64_t i = first; i < last; i++) {
        Region slab = left;
        slab.first[a] = i, slab.last[a] = i + 1;
        for (int64_t z = slab.first[0]; z < slab.last[0]; z++)
          for (int64_t y = slab.first[1]; y < slab.last[1]; y++)
            for (int64_t x = slab.first[2]; x < slab.last[2]; x++) {
              from[0] = z, from[1] = y, from[2] = x;
              from[a] = source(i, n, REFLECT);
              *NAME(at)(p, from[0], from[1], from[2]) += *NAME(at)(p, z, y, x);
            }
      }
    }
    left.first[a] = larger(left.first[a], 0), left.last[a] = smaller(left.last[a], n);
  }
}

/* State of one pass over a whole field in reverse mode, shared by the tiles. Each field is one patch with
   the halo of one layer. */
typedef struct {
  const Stack *s;
  const Tiling *tiling;
  Region reach;
  PATCH to, from, input, dot_field;
  NAME(Ending) end;
  const int64_t *below;
  const REAL *taps, *in;
  REAL *largest, *out, scale;
  double *partial;
  int boundary, folds;
} NAME(Pass);

/* Fill the cells before and behind the rows of a tile, and clear the overshot cells. */
static void NAME(surround_rows)(const PATCH *p, const Stack *s, const Region *tile, int boundary) {
  Region needed = *tile;
  needed.first[2] = p->region.first[2];
  needed.last[2] = p->region.last[2];
  NAME(fill)(p, s, tile, &needed, boundary);
  for (int64_t z = tile->first[0]; z < tile->last[0]; z++)
    for (int64_t y = tile->first[1]; y < tile->last[1]; y++)
      memset(NAME(at)(p, z, y, p->region.last[2]), 0, LANES * sizeof(REAL));
}

/* Fill the rows and planes around a field; also the ends of its only row if tiles divide it. */
static void NAME(surround)(const PATCH *p, const Stack *s, const Tiling *tiling, int boundary) {
  Region known = p->region, whole = {{0, 0, 0}, {1, 1, s->shape[2]}};
  if (tiling->parts[2] > 1) NAME(surround_rows)(p, s, &whole, boundary);
  for (int a = 0; a < 2; a++) known.first[a] = 0, known.last[a] = s->shape[a];
  NAME(fill)(p, s, &known, &p->region, boundary);
}

static void NAME(sweep_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index), reach = tile;
  for (int a = 0; a < 3; a++) {
    if (tile.first[a] == 0) reach.first[a] = job->reach.first[a];
    if (tile.last[a] == s->shape[a]) reach.last[a] = job->reach.last[a];
  }
  NAME(sweep)(&job->to, &job->from, &reach, s->kernel_size, job->below, job->taps, &job->end);
  if (!job->folds && job->tiling->parts[2] == 1) NAME(surround_rows)(&job->to, s, &tile, job->boundary);
  if (job->largest) job->largest[index] = NAME(largest)(&job->to, &tile);
}

/* Dot products of `from` and `dot_field` for the taps, then a sweep of `from` while it is cached. */
static void NAME(dots_and_sweep_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  Region tile = tile_at(job->tiling, job->s, index);
  double *partial = job->partial + index * job->s->taps;
  memset(partial, 0, job->s->taps * sizeof(double));
  NAME(all_dots)(&job->from, &job->dot_field, &tile, job->s, partial);
  NAME(sweep_tile)(shared, index);
}

/* The rows of a tile: to = in, or in * phi'(input) if `end.input` is set. */
static void NAME(load_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index);
  int64_t x = tile.first[2], width = tile.last[2] - x;
  for (int64_t z = tile.first[0]; z < tile.last[0]; z++)
    for (int64_t y = tile.first[1]; y < tile.last[1]; y++) {
      REAL *to = NAME(at)(&job->to, z, y, x);
      const REAL *in = job->in + (z * s->shape[1] + y) * s->shape[2] + x;
      if (job->end.input) NAME(load_cells)(to, s, &(NAME(Source)){.u = NAME(at)(&job->input, z, y, x), .g = in}, 0, width);
      else memcpy(to, in, width * sizeof(REAL));
    }
  if (job->tiling->parts[2] == 1) NAME(surround_rows)(&job->to, s, &tile, job->boundary);
}

/* The rows of a tile: out = scale * from. */
static void NAME(store_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index);
  const REAL scale = job->scale;
  for (int64_t z = tile.first[0]; z < tile.last[0]; z++)
    for (int64_t y = tile.first[1]; y < tile.last[1]; y++) {
      REAL *restrict out = job->out + (z * s->shape[1] + y) * s->shape[2];
      const REAL *restrict from = NAME(at)(&job->from, z, y, 0);
      for (int64_t x = tile.first[2]; x < tile.last[2]; x++) out[x] = scale * from[x];
    }
}

/* The rows of a tile: to = phi(from), or to *= phi'(input) if `end.input` is set. */
static void NAME(rectify_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  Region tile = tile_at(job->tiling, job->s, index);
  int64_t width = tile.last[2] - tile.first[2];
  for (int64_t z = tile.first[0]; z < tile.last[0]; z++)
    for (int64_t y = tile.first[1]; y < tile.last[1]; y++) {
      REAL *to = NAME(at)(&job->to, z, y, tile.first[2]);
      const REAL *from = NAME(at)(job->end.input ? &job->input : &job->from, z, y, tile.first[2]);
      REAL *g = scratch(width * sizeof(REAL));
      if (job->end.input) memcpy(g, to, width * sizeof(REAL));
      NAME(load_cells)(to, job->s, &(NAME(Source)){.u = from, .g = job->end.input ? g : 0, .rectified = 1}, 0, width);
    }
  if (job->tiling->parts[2] == 1) NAME(surround_rows)(&job->to, job->s, &tile, job->boundary);
}

/* One pass by all threads; if `surrounded`, also fill around the result. */
static void NAME(pass)(Team *team, NAME(Pass) *job, void (*tile)(void *, int64_t), int surrounded) {
  run_tasks(team, job->tiling->tiles, tile, job);
  if (surrounded) NAME(surround)(&job->to, job->s, job->tiling, job->boundary);
}

/* dL/dk and dL/du of all layers of one field, from dL/d(out * 2^exponent).

   A second forward pass stores one field per layer in `steps` + 4 patches: the outputs of the rectifiers, or
   their inputs for the modulus, the only rectifier whose output loses the sign. */
static void NAME(reverse)(const Stack *s, Team *team, const Tiling *tiling, int need_dk, const REAL *kernels,
                          const REAL *in, int64_t exponent, const REAL *g, REAL *dk, REAL *du,
                          const PATCH *prototype, REAL *memory, REAL *largest, double *partial) {
  int loses_sign = s->slope < 0, mirrored = s->boundary == REFLECT, back_boundary = mirrored ? ZERO : s->boundary;
  int64_t kernel_count = s->stacked ? s->steps : 1, total = 0, exponents[s->steps + 1];
  double sums[kernel_count * s->taps];
  REAL taps[MAX_TAPS];
  Region whole = {{0, 0, 0}, {s->shape[0], s->shape[1], s->shape[2]}};
  NAME(Pass) job = {.s = s, .tiling = tiling, .reach = whole, .taps = taps, .partial = partial, .boundary = s->boundary};
  PATCH patch[s->steps + 4], *alternate = patch + s->steps + 1, *spare = patch + s->steps + 3;
  for (int64_t i = 0; i < s->steps + 4; i++) {
    patch[i] = *prototype;
    patch[i].cells = memory + i * prototype->size;
  }
  memset(sums, 0, sizeof sums);
  exponents[0] = 0;
  job.to = patch[0], job.in = in;
  NAME(pass)(team, &job, NAME(load_tile), 1);
  for (int64_t i = 0; i < s->steps; i++) {
    int last = i + 1 == s->steps, rescaled = s->interval && !last;
    job.from = loses_sign && i ? alternate[i % 2] : patch[i];
    job.to = loses_sign ? alternate[(i + 1) % 2] : patch[i + 1];
    job.end = (NAME(Ending)){.slope = (REAL)s->slope, .sums = loses_sign ? patch[i + 1].cells : 0};
    job.below = s->below;
    job.largest = rescaled ? largest : 0;
    NAME(scaled)(s, kernels, i, exponents[i], 1, taps);
    NAME(pass)(team, &job, NAME(sweep_tile), !last);
    total += exponents[i];
    exponents[i + 1] = rescaled ? exponent_of(NAME(peak)(largest, tiling->tiles), sizeof(REAL)) : 0;
  }
  job.largest = 0;
  job.to = alternate[0], job.in = g, job.input = patch[s->steps], job.boundary = back_boundary;
  job.end.input = job.input.cells;
  NAME(pass)(team, &job, NAME(load_tile), 1);
  double back = ldexp(1, (int)(total - exponent));
  for (int64_t i = s->steps - 1; i >= 0; i--) {
    PATCH m = alternate[(s->steps - 1 - i) % 2], next = alternate[(s->steps - i) % 2];
    job.dot_field = patch[i];
    if (need_dk && loses_sign && i) {
      job.to = job.dot_field = *spare, job.from = patch[i], job.end.input = 0, job.boundary = s->boundary;
      NAME(pass)(team, &job, NAME(rectify_tile), 1);
      job.boundary = back_boundary;
    }
    job.to = next, job.from = m, job.input = patch[i], job.below = s->above;
    job.end = (NAME(Ending)){.slope = 1};
    if (i && !mirrored) job.end = (NAME(Ending)){.slope = (REAL)s->slope, .at_zero = (REAL)s->at_zero, .input = patch[i].cells};
    job.folds = mirrored;
    for (int a = 0; a < 3 && mirrored; a++) { /* also compute cells beyond the mirror, to fold them back */
      job.reach.first[a] = -s->below[a];
      job.reach.last[a] = s->shape[a] + s->above[a];
    }
    NAME(scaled)(s, kernels, i, exponents[i], 0, taps);
    NAME(pass)(team, &job, need_dk ? NAME(dots_and_sweep_tile) : NAME(sweep_tile), i && !mirrored);
    double *sum = sums + (s->stacked ? i : 0) * s->taps, scale = ldexp(back, (int)-exponents[i]);
    for (int64_t tile = 0; tile < tiling->tiles && need_dk; tile++)
      for (int64_t j = 0; j < s->taps; j++) sum[s->taps - 1 - j] += scale * partial[tile * s->taps + j];
    if (mirrored) {
      NAME(fold)(&next, s, &job.reach);
      job.end.input = patch[i].cells;
      if (i) NAME(pass)(team, &job, NAME(rectify_tile), 1);
    }
  }
  job.from = alternate[s->steps % 2], job.out = du, job.scale = (REAL)back;
  NAME(pass)(team, &job, NAME(store_tile), 0);
  for (int64_t j = 0; j < kernel_count * s->taps; j++) dk[j] = (REAL)sums[j];
}

/* The fields of a call; forward if g is null. */
typedef struct {
  const Stack *s;
  const REAL *kernels, *in, *g;
  REAL *out, *dk;
  int32_t *exponents;
  Team *team;
  int need_dk;
  _Atomic int failed;
} NAME(Batch);

static void NAME(batch_field)(void *shared, int64_t f) {
  NAME(Batch) *b = shared;
  const Stack *s = b->s;
  Tiling tiling = divide(s, sizeof(REAL), b->team ? b->team->threads : 1, b->g ? 1 : s->steps, b->g != 0);
  int64_t taps = s->taps * (s->stacked ? s->steps : 1), cells = tiling.tiles > 1 ? s->cells : 0;
  PATCH prototype = {0};
  if (b->g) {
    Region region;
    for (int a = 0; a < 3; a++) { /* a layer on cells beyond the mirror reads two halos */
      int64_t reach = larger(s->below[a], s->above[a]) * (s->boundary == REFLECT ? 2 : 1);
      region.first[a] = -reach;
      region.last[a] = s->shape[a] + reach;
    }
    prototype = NAME(layout)(&region, 0, s->shape[2], 0);
    cells = (s->steps + 4) * prototype.size;
  }
  int64_t sums = round_up(tiling.tiles * (s->taps + 1), 64); /* aligns the cells */
  Buffer *store = acquire_buffer(sums * sizeof(double) + cells * sizeof(REAL));
  if (!store) {
    b->failed = 1;
    return;
  }
  double *partial = store->memory;
  REAL *largest = (REAL *)(partial + tiling.tiles * s->taps), *memory = (REAL *)(partial + sums);
  const REAL *kernels = b->kernels + f * taps, *in = b->in + f * s->cells;
  REAL *out = b->out + f * s->cells;
  if (b->g)
    NAME(reverse)(s, b->team, &tiling, b->need_dk, kernels, in, b->exponents[f], b->g + f * s->cells, b->dk + f * taps,
                  out, &prototype, memory, largest, partial);
  else
    b->exponents[f] = (int32_t)NAME(forward)(s, b->team, &tiling, kernels, in, out, memory, largest);
  release_buffer(store);
}

/* One thread per field if there are enough fields, else all threads per field. Nonzero if out of memory. */
static int NAME(batch)(NAME(Batch) *b, int64_t fields) {
  Team *team = b->team;
  if (team && fields >= 2 * team->threads) {
    b->team = 0;
    run_tasks(team, fields, NAME(batch_field), b);
  } else
    for (int64_t f = 0; f < fields; f++) NAME(batch_field)(b, f);
  return b->failed;
}

#undef LANES
#undef VEC
#undef PATCH
