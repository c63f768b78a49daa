/* Layers of rectified convolution on one field of REAL, forward and reverse; included once per type.

   A tile of the field lies in a patch, a buffer with room for the halo that the layers ahead read, whose
   rows start aligned and may be overshot, so that every loop runs over whole vectors. A patch passes
   several layers while it stays in the cache; cells outside the domain are filled anew after each. */

#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))
typedef REAL NAME(Vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
#define VEC NAME(Vector)

typedef struct {
  REAL *cells;
  Region held;
  int64_t row, plane, shift, size, overshot; /* cells behind a row's halo that belong to it alone */
} NAME(Patch);
#define PATCH NAME(Patch)

static inline REAL *NAME(at)(const PATCH *p, int64_t z, int64_t y, int64_t x) {
  return p->cells + (z - p->held.first[0]) * p->plane + (y - p->held.first[1]) * p->row +
         (x - p->held.first[2]) + p->shift;
}

/* The layout of a patch that holds these cells of a tile of columns `start` to `end`. Where zeros surround a
   row, one vector of them may serve as the end of one row and the beginning of the next: more of a small
   field then stays in the nearest cache. */
static PATCH NAME(layout)(const Region *held, int64_t start, int64_t end, int zeros_around) {
  int64_t left = start - held->first[2], right = held->last[2] - end;
  PATCH p = {.held = *held};
  if (zeros_around && left + right <= LANES) {
    p.shift = LANES - left;
    p.row = round_up(end - start, LANES) + LANES;
  } else {
    p.overshot = LANES;
    p.shift = round_up(left + LANES, LANES) - left;
    p.row = round_up(p.shift + held->last[2] - held->first[2] + LANES, LANES);
  }
  if (p.row * (int64_t)sizeof(REAL) % 1024 == 0) p.row += LANES; /* or rows share cache sets */
  p.plane = p.row * (held->last[1] - held->first[1] + ROWS);
  p.size = p.plane * (held->last[0] - held->first[0]) + 2 * LANES;
  return p;
}

/* What is loaded of a field u: u itself, phi(u), or g phi'(u). */
typedef struct {
  const REAL *u, *g;
  int rectified;
} NAME(Source);

/* Cells of a row; slopes are copied first, or the compiler must assume that `to` changes them. */
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

/* Fills a patch from a field, with `boundary` outside the domain. */
static void NAME(load)(const PATCH *p, const Stack *s, const NAME(Source) *from, int boundary) {
  const int64_t *n = s->pixels, first = p->held.first[2], last = p->held.last[2];
  int64_t inner = larger(first, 0), outer = smaller(last, n[2]);
  for (int64_t z = p->held.first[0]; z < p->held.last[0]; z++)
    for (int64_t y = p->held.first[1]; y < p->held.last[1]; y++) {
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
      memcpy(field + (z * s->pixels[1] + y) * s->pixels[2] + tile->first[2],
             NAME(at)(p, z, y, tile->first[2]), width);
}

/* Fills the cells before and behind the known ones of each row, whole vectors at a time where they are
   all 0 or lie together elsewhere in the row. */
static void NAME(fill_rows)(const PATCH *p, const Stack *s, const Region *known, int64_t first, int64_t last, int boundary) {
  const int64_t *a = known->first, *e = known->last, n = s->pixels[2], before = a[2] - first, after = last - e[2];
  int whole = a[2] == 0 && e[2] == n, near = before <= LANES && after <= LANES;
  int64_t count = 0, cells[2 * MAX_TAPS], from[2 * MAX_TAPS]; /* two halos at either end */
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

/* Fills the cells of `needed` that are not in `known` from those that are, by the boundary rule. */
static void NAME(fill)(const PATCH *p, const Stack *s, const Region *known, const Region *needed,
                       int boundary) {
  const int64_t *a = known->first, *e = known->last, *na = needed->first, *ne = needed->last;
  NAME(fill_rows)(p, s, known, na[2], ne[2], boundary);
  size_t width = (ne[2] - na[2] + p->overshot) * sizeof(REAL);
  for (int64_t z = na[0]; z < ne[0]; z++) {
    int plane_known = z >= a[0] && z < e[0]; /* it may lie beyond a periodic domain all the same */
    int64_t fz = plane_known ? z : source(z, s->pixels[0], boundary);
    for (int64_t y = na[1]; y < ne[1]; y++) {
      if (plane_known && y == a[1]) y = e[1];
      if (y >= ne[1]) break;
      int row_known = y >= a[1] && y < e[1];
      int64_t fy = row_known ? y : source(y, s->pixels[1], boundary);
      REAL *row = NAME(at)(p, z, y, na[2]);
      if ((fz < 0 && !plane_known) || (fy < 0 && !row_known)) memset(row, 0, width);
      else memcpy(row, NAME(at)(p, fz, fy, na[2]), width);
    }
  }
}

/* How a layer ends: phi of the sum, the sum itself kept as well if there is room for it; or in reverse the
   sum times phi'(seen), if that is given. Their patches are laid out as the one written to. */
typedef struct {
  REAL slope, at_zero;
  REAL *kept;
  const REAL *seen;
} NAME(Ending);

static inline __attribute__((always_inline)) VEC NAME(choose)(__typeof__((VEC){0} < 0) mask, VEC yes, VEC no) {
  return (VEC)(((__typeof__(mask))yes & mask) | ((__typeof__(mask))no & ~mask));
}

static inline __attribute__((always_inline)) void NAME(finish)(
    const VEC *sum, REAL *restrict out, int64_t to_row, int64_t at, const int rows, const int columns,
    const NAME(Ending) *end) {
  if (end->kept)
    UNROLL for (int i = 0; i < rows * columns; i++)
      *(VEC *)(end->kept + at + i / columns * to_row + i % columns * LANES) = sum[i];
  if (end->seen)
    UNROLL for (int i = 0; i < rows * columns; i++) {
      int64_t offset = i / columns * to_row + i % columns * LANES;
      VEC s = *(const VEC *)(end->seen + at + offset);
      VEC low = NAME(choose)(s < 0, sum[i] * end->slope, sum[i] * end->at_zero);
      *(VEC *)(out + offset) = NAME(choose)(s > 0, sum[i], low);
    }
  else
    UNROLL for (int i = 0; i < rows * columns; i++) { /* one instruction for a maximum; it keeps NaN */
      VEC low = end->slope == 0 ? (VEC){0} : end->slope * sum[i];
      *(VEC *)(out + i / columns * to_row + i % columns * LANES) = NAME(choose)(low > sum[i], low, sum[i]);
    }
}

/* Groups of rows of one layer that are computed together: where they start, how far apart rows and planes are. */
typedef struct {
  REAL *restrict out;
  const REAL *restrict in, *taps;
  const int64_t *shape;
  int64_t to_row, row, plane, width, groups, at;
  NAME(Ending) end;
} NAME(Rows);

/* sum_j taps[j] in[x + j] at `columns` vectors of `rows` rows. The compiler knows p1 and p2 and keeps `near`,
   the taps if they are few, in registers. */
static inline __attribute__((always_inline)) void NAME(block)(
    const NAME(Rows) *l, int64_t x, const VEC *near, const int p1, const int p2, const int rows, const int columns) {
  VEC sum[ROWS * WIDEST];
  UNROLL for (int i = 0; i < rows * columns; i++) sum[i] = (VEC){0};
  for (int64_t a = 0; a < (near ? 1 : l->shape[0]); a++) {
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

/* The same for any number of taps. */
static inline __attribute__((always_inline)) void NAME(any_block)(
    const NAME(Rows) *l, int64_t x, const int rows, const int columns) {
  VEC sum[ROWS * WIDEST];
  const REAL *tap = l->taps;
  UNROLL for (int i = 0; i < rows * columns; i++) sum[i] = (VEC){0};
  for (int64_t a = 0; a < l->shape[0]; a++)
    for (int64_t b = 0; b < l->shape[1]; b++)
      for (int64_t c = 0; c < l->shape[2]; c++, tap++) {
        const REAL *cell = l->in + x + a * l->plane + b * l->row + c;
        UNROLL for (int i = 0; i < rows * columns; i++)
          sum[i] += *tap * *(const VEC *)(cell + i / columns * l->row + i % columns * LANES);
      }
  NAME(finish)(sum, l->out + x, l->to_row, l->at + x, rows, columns, &l->end);
}

/* One function for each shape of taps. Where a group of rows begins is hidden from the compiler, or it carries
   so many addresses from one group to the next that short rows take twice as long. */
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

/* One layer on a region: to[x] = ending(sum_j taps[j] from[x - below + j]). */
static void NAME(sweep)(const PATCH *to, const PATCH *from, const Region *r, const int64_t *shape,
                        const int64_t *below, const REAL *taps, const NAME(Ending) *end) {
  static const struct {
    int64_t planes, shape[2], rows; /* planes is 0 for any number */
    void (*run)(const NAME(Rows) *);
  } known[] = {
      {1, {1, 2}, 1, NAME(row_2)}, {1, {1, 3}, 1, NAME(row_3)}, {1, {1, 5}, 1, NAME(row_5)},
      {1, {2, 2}, ROWS, NAME(rows_2_2)}, {1, {3, 3}, ROWS, NAME(rows_3_3)}, {0, {2, 2}, ROWS, NAME(planes_2_2)},
      {0, {3, 3}, ROWS, NAME(planes_3_3)}, {0, {4, 4}, ROWS, NAME(planes_4_4)}, {0, {5, 5}, ROWS, NAME(planes_5_5)},
      {0, {7, 7}, ROWS, NAME(planes_7_7)},
  };
  int single = r->last[1] - r->first[1] == 1, rows = single ? 1 : ROWS, kinds = sizeof known / sizeof *known;
  void (*run)(const NAME(Rows) *) = single ? NAME(any_row) : NAME(any_rows);
  for (int i = kinds - 1; i >= 0; i--)
    if ((!known[i].planes || shape[0] == 1) && shape[1] == known[i].shape[0] && shape[2] == known[i].shape[1])
      run = known[i].run, rows = (int)known[i].rows;
  int64_t start = r->first[2] - (to->shift + r->first[2] - to->held.first[2]) % LANES;
  NAME(Rows) l = {.taps = taps, .shape = shape, .to_row = to->row, .row = from->row, .plane = from->plane,
                  .width = r->last[2] - start, .groups = (r->last[1] - r->first[1] + rows - 1) / rows, .end = *end};
  for (int64_t z = r->first[0]; z < r->last[0]; z++) {
    l.out = NAME(at)(to, z, r->first[1], start);
    l.in = NAME(at)(from, z - below[0], r->first[1] - below[1], start - below[2]);
    l.at = l.out - to->cells;
    run(&l);
  }
}

/* The largest size in a region; NaN is passed over. */
static REAL NAME(largest)(const PATCH *p, const Region *r) {
  int64_t width = r->last[2] - r->first[2], full = width / LANES * LANES;
  VEC high = {0};
  REAL most = 0;
  for (int64_t z = r->first[0]; z < r->last[0]; z++)
    for (int64_t y = r->first[1]; y < r->last[1]; y++) {
      const REAL *row = NAME(at)(p, z, y, r->first[2]);
      for (int64_t x = 0; x < full; x += LANES) {
        VEC u = *(const VEC *)(row + x), size = NAME(choose)(u < 0, -u, u);
        high = NAME(choose)(size > high, size, high);
      }
      for (int64_t x = full; x < width; x++) {
        REAL size = row[x] < 0 ? -row[x] : row[x];
        most = size > most ? size : most;
      }
    }
  UNROLL for (int l = 0; l < LANES; l++) most = high[l] > most ? high[l] : most;
  return most;
}

/* The taps of a layer times 2^-exponent, point-reflected for the forward direction. */
static void NAME(scaled)(const Stack *s, const REAL *kernels, int64_t layer, int64_t exponent, int reflect,
                         REAL *to) {
  const REAL *k = kernels + (s->stacked ? layer * s->taps : 0);
  REAL scale = (REAL)ldexp(1, (int)-exponent);
  for (int64_t i = 0; i < s->taps; i++) to[i] = scale * k[reflect ? s->taps - 1 - i : i];
}

/* What the tiles of one field share on its way forward. */
typedef struct {
  const Stack *s;
  const Tiling *tiling;
  const REAL *kernels, *in;
  REAL *out, *largest;
  int64_t layer, count, exponent, total;
} NAME(Forward);

/* Between scales a field may fade by half the range of its exponents; if it faded by more, what is small in
   it may be lost, and the layers since are passed again one by one. */
static const REAL NAME(faded) = sizeof(REAL) == 4 ? (REAL)0x1p-62 : (REAL)0x1p-510;

/* One tile through `count` layers. One that is the whole field renews its scale on the way, after every few
   layers; returns 0 if it faded before that. */
static int NAME(pass_tile)(NAME(Forward) *job, const Region *tile, PATCH *p, int whole, int64_t every) {
  const Stack *s = job->s;
  REAL taps[MAX_TAPS];
  NAME(Ending) end = {.slope = (REAL)s->slope};
  int64_t exponent = job->exponent, total = 0;
  NAME(load)(&p[0], s, &(NAME(Source)){.u = job->in}, s->boundary);
  Region known = computed(s, tile, job->count - 1);
  /* zeros around rows of whole vectors, once they are in both patches, are written over by nobody */
  int stays = s->boundary == ZERO && whole_axis(s, tile, 2) && s->pixels[2] % LANES == 0;
  for (int64_t i = 0; i < job->count; i++) {
    const PATCH *now = &p[(i + 1) % 2];
    NAME(scaled)(s, job->kernels, job->layer + i, exponent, 1, taps);
    NAME(sweep)(now, &p[i % 2], &known, s->shape, s->below, taps, &end);
    total += exponent;
    exponent = 0;
    if (whole && s->renew && ((i + 1) % every == 0 || i + 1 == job->count)) {
      REAL most = NAME(largest)(now, tile);
      if (every > 1 && most < NAME(faded)) return 0;
      exponent = exponent_of(most, sizeof(REAL));
    }
    if (i + 1 == job->count) break;
    Region next = computed(s, tile, job->count - 2 - i), needed = next;
    for (int a = 0; a < 3; a++) {
      needed.first[a] -= s->below[a];
      needed.last[a] += s->above[a];
    }
    if (i && stays) needed.first[2] = next.first[2], needed.last[2] = next.last[2];
    NAME(fill)(now, s, &known, &needed, s->boundary);
    known = next;
  }
  if (whole) job->total = total;
  return 1;
}

static void NAME(forward_tile)(void *shared, int64_t index) {
  NAME(Forward) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index), held = halo(s, &tile, job->count);
  int whole = job->tiling->tiles == 1;
  PATCH p[2];
  int zeros_around = s->boundary == ZERO && whole_axis(s, &tile, 2);
  p[0] = p[1] = NAME(layout)(&held, tile.first[2], tile.last[2], zeros_around);
  p[0].cells = scratch(2 * p[0].size * sizeof(REAL));
  p[1].cells = p[0].cells + p[0].size;
  if (!NAME(pass_tile)(job, &tile, p, whole, larger(s->renew, 1))) NAME(pass_tile)(job, &tile, p, whole, 1);
  const PATCH *last = &p[job->count % 2];
  if (!whole && s->renew) job->largest[index] = NAME(largest)(last, &tile);
  NAME(store)(last, s, &tile, job->out);
}

static REAL NAME(most)(const REAL *largest, int64_t tiles) {
  REAL most = 0;
  for (int64_t i = 0; i < tiles; i++) most = largest[i] > most ? largest[i] : most;
  return most;
}

/* All layers of one field; returns e of out * 2^e. `spare` holds one field for tiles to alternate with. */
static int64_t NAME(forward)(const Stack *s, Crew *crew, const Tiling *tiling, const REAL *kernels,
                             const REAL *in, REAL *out, REAL *spare, REAL *largest) {
  NAME(Forward) job = {.s = s, .tiling = tiling, .kernels = kernels, .largest = largest, .out = out};
  int64_t depth = tiling->tiles == 1 ? s->layers : tiling->depth, chunks = (s->layers + depth - 1) / depth, total = 0;
  const REAL *now = in;
  for (int64_t done = 0, chunk = chunks; done < s->layers; chunk--) {
    int64_t count = smaller(depth, s->layers - done), renewed = tiling->tiles > 1 && s->renew, again = 0;
    for (int64_t end = done + count, each = count; done < end;) {
      job.in = now, job.layer = done, job.count = each;
      job.out = now == out || (now == in && chunk % 2 == 0) ? spare : out; /* so that most end in `out` */
      share(crew, tiling->tiles, NAME(forward_tile), &job);
      REAL most = renewed ? NAME(most)(largest, tiling->tiles) : 1;
      if (most < NAME(faded) && each > 1 && !again) {
        each = 1, again = 1;
        continue;
      }
      now = job.out, done += each;
      total += job.exponent;
      job.exponent = renewed && done < s->layers ? exponent_of(most, sizeof(REAL)) : 0;
    }
  }
  if (now != out) memcpy(out, now, s->cells * sizeof(REAL));
  return tiling->tiles > 1 ? total : job.total;
}

/* sum[b][c] += sum over `n` <= LANES cells of `rows` rows of m(x) u(x + (b, c)). */
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

/* to[b][c] += sum over a tile of m(x) u(x - below + (a, b, c)) for one plane a of taps. */
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
    VEC one = sum[i]; /* a copy, or the sums would have to lie in memory all along */
    memcpy(lanes, &one, sizeof lanes);
    for (int64_t l = 0; l < LANES; l++) to[i] += (double)lanes[l];
  }
}

/* All taps of a plane at once if there are few, else some of a row of them at a time. */
static void NAME(all_dots)(const PATCH *m, const PATCH *u, const Region *r, const Stack *s, double *to) {
  enum { AT_ONCE = 5 };
#define CASE(condition, p1, p2, offsets, rows, sums) \
  if (condition) { \
    NAME(dots)(m, u, r, offsets, a, p1, p2, rows, sums); \
    continue; \
  }
#define PLANE(p, rows) CASE(s->shape[1] == p && s->shape[2] == p, p, p, s->below, rows, to)
#define PART(p) CASE(n == p, 1, p, below, 1, to + b * s->shape[2] + c)
  for (int64_t a = 0; a < s->shape[0]; a++, to += s->shape[1] * s->shape[2]) {
    PLANE(2, ROWS) PLANE(3, ROWS) PLANE(4, 2) PLANE(5, 2)
    for (int64_t b = 0; b < s->shape[1]; b++)
      for (int64_t c = 0; c < s->shape[2]; c += AT_ONCE) {
        int64_t below[3] = {s->below[0], s->below[1] - b, s->below[2] - c}, n = smaller(s->shape[2] - c, AT_ONCE);
        PART(1) PART(2) PART(3) PART(4) PART(5)
      }
  }
#undef CASE
#undef PLANE
#undef PART
}

/* Adds what lies beyond a mirror to the cells that it is the image of. */
static void NAME(fold)(const PATCH *p, const Stack *s, const Region *r) {
  Region left = *r;
  for (int a = 2; a >= 0; a--) {
    int64_t n = s->pixels[a], from[3];
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

/* A pass over all fields kept on the way back, each laid out as a whole with the halo of one layer: what
   the tiles share. In turn `pass` is one of the functions below. */
typedef struct {
  const Stack *s;
  const Tiling *tiling;
  Region reach;
  PATCH to, from, seen, dotted;
  NAME(Ending) end;
  const int64_t *below;
  const REAL *taps, *in;
  REAL *largest, *out, scale;
  double *partial;
  int boundary, folds;
} NAME(Pass);

/* Fills the cells before and behind the rows of a tile, and forgets what was overshot. */
static void NAME(surround_rows)(const PATCH *p, const Stack *s, const Region *tile, int boundary) {
  Region needed = *tile;
  needed.first[2] = p->held.first[2];
  needed.last[2] = p->held.last[2];
  NAME(fill)(p, s, tile, &needed, boundary);
  for (int64_t z = tile->first[0]; z < tile->last[0]; z++)
    for (int64_t y = tile->first[1]; y < tile->last[1]; y++)
      memset(NAME(at)(p, z, y, p->held.last[2]), 0, LANES * sizeof(REAL));
}

/* Fills the rows and planes around all those of a field; the ends of its only row as well if it is cut. */
static void NAME(surround)(const PATCH *p, const Stack *s, const Tiling *tiling, int boundary) {
  Region known = p->held, whole = {{0, 0, 0}, {1, 1, s->pixels[2]}};
  if (tiling->parts[2] > 1) NAME(surround_rows)(p, s, &whole, boundary);
  for (int a = 0; a < 2; a++) known.first[a] = 0, known.last[a] = s->pixels[a];
  NAME(fill)(p, s, &known, &p->held, boundary);
}

static void NAME(sweep_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index), reach = tile;
  for (int a = 0; a < 3; a++) {
    if (tile.first[a] == 0) reach.first[a] = job->reach.first[a];
    if (tile.last[a] == s->pixels[a]) reach.last[a] = job->reach.last[a];
  }
  NAME(sweep)(&job->to, &job->from, &reach, s->shape, job->below, job->taps, &job->end);
  if (!job->folds && job->tiling->parts[2] == 1) NAME(surround_rows)(&job->to, s, &tile, job->boundary);
  if (job->largest) job->largest[index] = NAME(largest)(&job->to, &tile);
}

/* Sums for the taps, of `from` and `dotted`, then a sweep of `from` while it is in the cache. */
static void NAME(dots_and_sweep_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  Region tile = tile_at(job->tiling, job->s, index);
  double *partial = job->partial + index * job->s->taps;
  memset(partial, 0, job->s->taps * sizeof(double));
  NAME(all_dots)(&job->from, &job->dotted, &tile, job->s, partial);
  NAME(sweep_tile)(shared, index);
}

/* The rows of a tile: to = in, or in phi'(seen) if something was seen. */
static void NAME(take_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index);
  int64_t x = tile.first[2], width = tile.last[2] - x;
  for (int64_t z = tile.first[0]; z < tile.last[0]; z++)
    for (int64_t y = tile.first[1]; y < tile.last[1]; y++) {
      REAL *to = NAME(at)(&job->to, z, y, x);
      const REAL *in = job->in + (z * s->pixels[1] + y) * s->pixels[2] + x;
      if (job->end.seen) NAME(load_cells)(to, s, &(NAME(Source)){.u = NAME(at)(&job->seen, z, y, x), .g = in}, 0, width);
      else memcpy(to, in, width * sizeof(REAL));
    }
  if (job->tiling->parts[2] == 1) NAME(surround_rows)(&job->to, s, &tile, job->boundary);
}

/* The rows of a tile: out = scale from. */
static void NAME(give_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  const Stack *s = job->s;
  Region tile = tile_at(job->tiling, s, index);
  const REAL scale = job->scale;
  for (int64_t z = tile.first[0]; z < tile.last[0]; z++)
    for (int64_t y = tile.first[1]; y < tile.last[1]; y++) {
      REAL *restrict out = job->out + (z * s->pixels[1] + y) * s->pixels[2];
      const REAL *restrict from = NAME(at)(&job->from, z, y, 0);
      for (int64_t x = tile.first[2]; x < tile.last[2]; x++) out[x] = scale * from[x];
    }
}

/* The rows of a tile: to = phi(from), or to *= phi'(seen) if something was seen. */
static void NAME(rectify_tile)(void *shared, int64_t index) {
  NAME(Pass) *job = shared;
  Region tile = tile_at(job->tiling, job->s, index);
  int64_t width = tile.last[2] - tile.first[2];
  for (int64_t z = tile.first[0]; z < tile.last[0]; z++)
    for (int64_t y = tile.first[1]; y < tile.last[1]; y++) {
      REAL *to = NAME(at)(&job->to, z, y, tile.first[2]);
      const REAL *from = NAME(at)(job->end.seen ? &job->seen : &job->from, z, y, tile.first[2]);
      REAL *g = scratch(width * sizeof(REAL));
      if (job->end.seen) memcpy(g, to, width * sizeof(REAL));
      NAME(load_cells)(to, job->s, &(NAME(Source)){.u = from, .g = job->end.seen ? g : 0, .rectified = 1}, 0, width);
    }
  if (job->tiling->parts[2] == 1) NAME(surround_rows)(&job->to, job->s, &tile, job->boundary);
}

/* A pass by all threads, and the rows and planes around what it wrote. */
static void NAME(pass)(Crew *crew, NAME(Pass) *job, void (*tile)(void *, int64_t), int surrounded) {
  share(crew, job->tiling->tiles, tile, job);
  if (surrounded) NAME(surround)(&job->to, job->s, job->tiling, job->boundary);
}

/* dL/dk and dL/du of all layers of one field, from dL/d(out * 2^exponent).

   The layers are passed once more and what their rectifiers see is kept, in `layers` + 4 patches of the
   whole field; for the modulus, which alone forgets the sign, before it and else after it. */
static void NAME(reverse)(const Stack *s, Crew *crew, const Tiling *tiling, int wanted, const REAL *kernels,
                          const REAL *in, int64_t exponent, const REAL *g, REAL *dk, REAL *du,
                          const PATCH *like, REAL *memory, REAL *largest, double *partial) {
  int forgets = s->slope < 0, mirrored = s->boundary == REFLECT, back_boundary = mirrored ? ZERO : s->boundary;
  int64_t kinds = s->stacked ? s->layers : 1, total = 0, exponents[s->layers + 1];
  double sums[kinds * s->taps];
  REAL taps[MAX_TAPS];
  Region whole = {{0, 0, 0}, {s->pixels[0], s->pixels[1], s->pixels[2]}};
  NAME(Pass) job = {.s = s, .tiling = tiling, .reach = whole, .taps = taps, .partial = partial, .boundary = s->boundary};
  PATCH patch[s->layers + 4], *turn = patch + s->layers + 1, *spare = patch + s->layers + 3;
  for (int64_t i = 0; i < s->layers + 4; i++) {
    patch[i] = *like;
    patch[i].cells = memory + i * like->size;
  }
  memset(sums, 0, sizeof sums);
  exponents[0] = 0;
  job.to = patch[0], job.in = in;
  NAME(pass)(crew, &job, NAME(take_tile), 1);
  for (int64_t i = 0; i < s->layers; i++) {
    int last = i + 1 == s->layers, renewed = s->renew && !last;
    job.from = forgets && i ? turn[i % 2] : patch[i];
    job.to = forgets ? turn[(i + 1) % 2] : patch[i + 1];
    job.end = (NAME(Ending)){.slope = (REAL)s->slope, .kept = forgets ? patch[i + 1].cells : 0};
    job.below = s->below;
    job.largest = renewed ? largest : 0;
    NAME(scaled)(s, kernels, i, exponents[i], 1, taps);
    NAME(pass)(crew, &job, NAME(sweep_tile), !last);
    total += exponents[i];
    exponents[i + 1] = renewed ? exponent_of(NAME(most)(largest, tiling->tiles), sizeof(REAL)) : 0;
  }
  job.largest = 0;
  job.to = turn[0], job.in = g, job.seen = patch[s->layers], job.boundary = back_boundary;
  job.end.seen = job.seen.cells;
  NAME(pass)(crew, &job, NAME(take_tile), 1);
  double back = ldexp(1, (int)(total - exponent));
  for (int64_t i = s->layers - 1; i >= 0; i--) {
    PATCH m = turn[(s->layers - 1 - i) % 2], next = turn[(s->layers - i) % 2];
    job.dotted = patch[i];
    if (wanted & WANT_TAPS && forgets && i) {
      job.to = job.dotted = *spare, job.from = patch[i], job.end.seen = 0, job.boundary = s->boundary;
      NAME(pass)(crew, &job, NAME(rectify_tile), 1);
      job.boundary = back_boundary;
    }
    job.to = next, job.from = m, job.seen = patch[i], job.below = s->above;
    job.end = (NAME(Ending)){.slope = 1};
    if (i && !mirrored) job.end = (NAME(Ending)){.slope = (REAL)s->slope, .at_zero = (REAL)s->at_zero, .seen = patch[i].cells};
    job.folds = mirrored;
    for (int a = 0; a < 3 && mirrored; a++) { /* cells beyond the mirror get their share, and are folded back */
      job.reach.first[a] = -s->below[a];
      job.reach.last[a] = s->pixels[a] + s->above[a];
    }
    NAME(scaled)(s, kernels, i, exponents[i], 0, taps);
    NAME(pass)(crew, &job, wanted & WANT_TAPS ? NAME(dots_and_sweep_tile) : NAME(sweep_tile), i && !mirrored);
    double *sum = sums + (s->stacked ? i : 0) * s->taps, scale = ldexp(back, (int)-exponents[i]);
    for (int64_t tile = 0; tile < tiling->tiles && wanted & WANT_TAPS; tile++)
      for (int64_t j = 0; j < s->taps; j++) sum[s->taps - 1 - j] += scale * partial[tile * s->taps + j];
    if (mirrored) {
      NAME(fold)(&next, s, &job.reach);
      job.end.seen = patch[i].cells;
      if (i) NAME(pass)(crew, &job, NAME(rectify_tile), 1);
    }
  }
  job.from = turn[s->layers % 2], job.out = du, job.scale = (REAL)back;
  NAME(pass)(crew, &job, NAME(give_tile), 0);
  for (int64_t j = 0; j < kinds * s->taps; j++) dk[j] = (REAL)sums[j];
}

/* The fields of a call; forward if there is no g. */
typedef struct {
  const Stack *s;
  const REAL *kernels, *in, *g;
  REAL *out, *dk;
  int32_t *exponents;
  Crew *crew;
  int wanted;
  _Atomic int failed;
} NAME(Batch);

static void NAME(batch_field)(void *shared, int64_t f) {
  NAME(Batch) *b = shared;
  const Stack *s = b->s;
  Tiling tiling = divide(s, sizeof(REAL), b->crew ? b->crew->threads : 1, b->g ? 1 : s->layers, b->g != 0);
  int64_t taps = s->taps * (s->stacked ? s->layers : 1), cells = tiling.tiles > 1 ? s->cells : 0;
  PATCH like = {0};
  if (b->g) {
    Region held;
    for (int a = 0; a < 3; a++) { /* one layer beyond the mirror reads twice the halo */
      int64_t reach = larger(s->below[a], s->above[a]) * (s->boundary == REFLECT ? 2 : 1);
      held.first[a] = -reach;
      held.last[a] = s->pixels[a] + reach;
    }
    like = NAME(layout)(&held, 0, s->pixels[2], 0);
    cells = (s->layers + 4) * like.size;
  }
  int64_t sums = round_up(tiling.tiles * (s->taps + 1), 64); /* so that the cells start aligned */
  Store *store = take_store(sums * sizeof(double) + cells * sizeof(REAL));
  if (!store) {
    b->failed = 1;
    return;
  }
  double *partial = store->memory;
  REAL *largest = (REAL *)(partial + tiling.tiles * s->taps), *memory = (REAL *)(partial + sums);
  const REAL *kernels = b->kernels + f * taps, *in = b->in + f * s->cells;
  REAL *out = b->out + f * s->cells;
  if (b->g)
    NAME(reverse)(s, b->crew, &tiling, b->wanted, kernels, in, b->exponents[f], b->g + f * s->cells, b->dk + f * taps,
                  out, &like, memory, largest, partial);
  else
    b->exponents[f] = (int32_t)NAME(forward)(s, b->crew, &tiling, kernels, in, out, memory, largest);
  give_back(store);
}

/* Each field by one thread if there are enough of them, else each by all. Nonzero if memory ran out. */
static int NAME(batch)(NAME(Batch) *b, int64_t fields) {
  Crew *crew = b->crew;
  if (crew && fields >= 2 * crew->threads) {
    b->crew = 0;
    share(crew, fields, NAME(batch_field), b);
  } else
    for (int64_t f = 0; f < fields; f++) NAME(batch_field)(b, f);
  return b->failed;
}

#undef LANES
#undef VEC
#undef PATCH
