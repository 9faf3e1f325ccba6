/* Walks a program: every worker runs every op of every batch, meeting the others where an op needs all of an earlier
 * one. What an op computes is in kernels/; what a thread is, in pool.c.
 *
 * A batch begins with a barrier of its own. Before it worker 0 decides whether the run goes on (time, divergence), so
 * that all workers see one decision.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <float.h>
#include <string.h>

#include "barrier.h"
#include "cpu.h"
#include "flush.h"
#include "pool.h"
#include "targets.h"
#include "worker.h"

enum { TILES_BETWEEN_LOOKS = 16 };

static const double SECONDS_BETWEEN_LOOKS = 0.05;

/* What the workers of one run share. */
typedef struct {
    const fr_program *program;
    const fr_feed *feed;
    fr_tally *tally;
    const fr_options *options;
    const fr_table *table;
    int64_t first, stop;
    int64_t next; /* the batch after the last one run; written by worker 0 */
    int n;
    uint32_t tuning;
    size_t worker_bytes; /* of scratch, for each */
    double deadline;
    atomic_llong
        halt; /* the batch at which to stop; written by worker 0 before the barrier at the start of that batch */
    atomic_llong bad_row;
    atomic_int failed_call; /* the op; FR_MAX_OPS while there is none */
    atomic_int abandoned;   /* an interruption, in the middle of a batch */
    double power[FR_POWERS];
    int64_t updates;
    atomic_int cpu[FR_MAX_THREADS]; /* where each worker was at the start of its batch */
    fenv_t callers_mode;            /* of floating point, on the caller's thread */
    int forks;                      /* of this process when the run began */
    int alone; /* what was called has forked: this is the child, in which only the thread of worker 0 lives */
    barrier barrier;
} run_state;

static size_t align64(size_t n) { return (n + 63) / 64 * 64; }

/* Bytes of a worker's counters of taken tiles: one per op, for this batch and the next. */
static size_t taken_bytes(const fr_program *program) {
    return align64(2 * sizeof(atomic_ullong) * (size_t)program->n_ops);
}

/* Bytes of one worker: those counters, then what the most demanding op needs. */
static size_t worker_bytes(const fr_program *program) {
    const fr_table *table = fr_current_table((fr_real)program->real);
    size_t most = 0;
    for (int i = 0; i < program->n_ops; i++) {
        const fr_op *op = &program->ops[i];
        if (op->kind == FR_CALL) continue;
        const size_t needed = table->scratch_bytes(op);
        if (needed > most) most = needed;
    }
    return taken_bytes(program) + align64(most) + 64;
}

size_t fr_scratch_bytes(const fr_program *program, int threads) { return worker_bytes(program) * (size_t)threads; }

/* The sum of a head's sample weights of some rows, in order. */
static double weight_of(const run_state *run, int head, int64_t first, int64_t rows) {
    const fr_feed *feed = run->feed;
    const void *weights = feed->head[head].weights;
    if (!weights) return (double)rows;
    double sum = 0;
    for (int64_t i = first; i < first + rows; i++) {
        const int64_t index = fr_index_at(feed, i);
        sum +=
            run->program->real == FR_F32 ? (double)((const float *)weights)[index] : ((const double *)weights)[index];
    }
    return sum;
}

static double sum_real(const void *x, int64_t n, int real) {
    double lane[FR_LANES] = {0}, total = 0; /* virtual lanes: the order does not depend on the hardware */
    for (int64_t i = 0; i < n; i += FR_LANES) {
        for (int j = 0; j < FR_LANES; j++)
            lane[j] += real == FR_F32 ? (double)((const float *)x)[i + j] : ((const double *)x)[i + j];
    }
    for (int j = 0; j < FR_LANES; j++) total += lane[j];
    return total;
}

/* Whether an op leaves the sums of a penalty. */
static int leaves_penalty(const fr_op *op) {
    const fr_param *p = &op->param;
    return op->flags & FR_HAS_PARAM && p->penalty && (p->rule.penalty.l1 != 0 || p->rule.penalty.l2 != 0);
}

/* The penalties of the batch just done, from the column sums that the updates left. */
static void add_penalties(run_state *run, int64_t step_rows) {
    const fr_program *program = run->program;
    double sum = 0;
    for (int i = 0; i < program->n_ops; i++) {
        const fr_op *op = &program->ops[i];
        const fr_param *p = &op->param;
        if (!leaves_penalty(op)) continue;
        sum += sum_real(p->penalty, (p->rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP * p->value.ld, program->real);
    }
    run->tally->penalty += sum;
    run->tally->row_penalty += sum * (double)step_rows;
}

/* The mean loss of the batch just done in the first head, as often as it has rows. `before` is the total before it. */
static void add_mean(fr_tally *tally, fr_total before, int64_t rows) {
    const double weight = tally->head[0].weight - before.weight;
    if (!(weight > 0)) return;
    tally->rows += (double)rows;
    tally->row_loss += (tally->head[0].loss - before.loss) / weight * (double)rows;
}

/* The last rule that updates a parameter, or NULL. All rules of a program come from one optimizer. */
static const fr_rule *moving_rule(const fr_program *program) {
    for (int i = program->n_ops - 1; i >= 0; i--) {
        const fr_op *op = &program->ops[i];
        if (op->flags & FR_HAS_PARAM && !fr_stores_gradient(op->param.rule.kind)) return &op->param.rule;
    }
    return NULL;
}

void fr_next_powers(double power[FR_POWERS], const fr_rule *rule) {
    power[2] *= rule->warm_up;
    power[0] *= rule->beta1 * (1 - power[2] / 2);
    power[1] *= rule->beta2;
    for (int i = 0; i < FR_POWERS; i++) {
        if (power[i] < DBL_MIN) power[i] = 0; /* the rule of flush.h, where its mode is off too */
    }
}

/* Whether an op before the barrier of op `here` has failed. A later call may have failed already when a
 * slow worker looks. It does not count, so that all workers see the same. */
static int has_failed(run_state *run, int here) {
    return atomic_load_explicit(&run->bad_row, memory_order_relaxed) != INT64_MAX ||
           atomic_load_explicit(&run->failed_call, memory_order_relaxed) < here;
}

/* Calls the caller back, in its own mode and on its own thread, which is worker 0's. */
static int call_back(run_state *run, int32_t op, int64_t count) {
    fesetenv(&run->callers_mode);
    const int failed = run->options->call(run->options->call_context, op, count);
    fegetenv(&run->callers_mode); /* it may have changed */
    fr_small_is_zero();
    if (run->n > 1 && fr_pool_forks() != run->forks) run->alone = 1;
    return failed || run->alone;
}

/* After an interruption every worker still meets the others at all later barriers. Only tiles, rows and whole ops are left
 * out.
 *
 * The first time in a batch nobody is asked: on a busy machine a short batch may seem long, and would be lost for nothing. */
void fr_look(fr_worker *w) {
    run_state *run = w->run;
    const double t = now();
    w->tiles_until_look = TILES_BETWEEN_LOOKS;
    if (t < w->look_at || !run->options->call) return;
    w->look_at = t + SECONDS_BETWEEN_LOOKS;
    const int again = w->looked_in == w->batch.first;
    w->looked_in = w->batch.first;
    if (!again) return;
    if (call_back(run, -1, w->batch.count)) atomic_store_explicit(&run->abandoned, 1, memory_order_relaxed);
}

/* The op that asks for the rows of the next batch, NULL for none. */
static const fr_op *asking_op(const fr_program *program) {
    for (int i = program->n_ops - 1; i >= 0; i--) {
        if (program->ops[i].flags & FR_ASKS_AHEAD) return &program->ops[i];
    }
    return NULL;
}

/* What Python must ensure. Checked in debugging builds only. While a batch has not yet `waited`, worker 0 may still be
 * adding up the penalties of the batch before. Where one op runs alone, to be timed, nobody reads them. */
static void check_op(const run_state *run, const fr_op *op, int waited) {
    const fr_options *options = run->options;
    assert(waited || options->stop_op - options->first_op == 1 || !leaves_penalty(op));
    assert(op->kind >= 0 && op->kind < FR_OP_KINDS);
    assert(op->kind == FR_CALL ? run->options->call != NULL : run->table->op[op->kind] != NULL);
    (void)run, (void)op, (void)waited, (void)options;
}

/* A worker's counters for a batch, at the start of its scratch. */
static atomic_ullong *taken_of(const run_state *run, int id, int64_t batch) {
    char *scratch = (char *)run->options->scratch + run->worker_bytes * (size_t)id;
    return (atomic_ullong *)scratch + (batch & 1) * run->program->n_ops;
}

/* Sets them to zero. Nobody uses them before that batch begins. */
static void reset_taken(const run_state *run, int id, int64_t batch) {
    atomic_ullong *taken = taken_of(run, id, batch);
    for (int i = 0; i < run->program->n_ops; i++) atomic_store_explicit(&taken[i], 0, memory_order_relaxed);
}

/* All ops of one batch. Returns 0 when one failed. */
static int walk(run_state *run, fr_worker *w, int64_t batch) {
    const fr_program *program = run->program;
    const fr_options *options = run->options;
    atomic_ullong *taken = taken_of(run, 0, batch);
    int gathered = 0, may_fail = 0, waited = 0;
    for (int i = options->first_op; i < options->stop_op; i++) {
        const fr_op *op = &program->ops[i];
        if (!w->batch.closes && op->flags & FR_ONCE_A_STEP) continue;
        if (op->wait) {
            if (run->alone) return 0;
            barrier_wait(&run->barrier);
            if (may_fail && has_failed(run, i)) return 0;
            if (gathered && w->batch.empty) return 1;
            gathered = may_fail = 0;
            waited = 1;
        }
        if (atomic_load_explicit(&run->abandoned, memory_order_relaxed)) continue;
        check_op(run, op, waited);
        gathered |= op->flags & FR_READS_DATA;
        may_fail |= op->flags & FR_MAY_FAIL;
        w->op = op;
        w->batch.from = op->span == FR_COPIES ? w->batch.count : 0;
        w->batch.rows = op->span == FR_BOTH ? 2 * w->batch.count : w->batch.count;
        w->taken = taken + i;
        if (op->kind != FR_CALL) {
            run->table->op[op->kind](w);
        } else if (w->id == 0 && call_back(run, i, w->batch.count)) {
            atomic_store_explicit(&run->failed_call, i, memory_order_relaxed);
            if (run->alone) return 0;
        }
    }
    return 1;
}

/* The batch with this number, and the step it belongs to. */
static fr_batch batch_at(const run_state *run, int64_t number) {
    const fr_feed *feed = run->feed;
    const int64_t size = feed->batch_size, accumulate = run->program->accumulate;
    const int64_t first = number * size, step = number / accumulate * accumulate * size;
    /* Divided, not multiplied: the size asked for may be more rows than 64 bits can count. */
    const int64_t end = size < feed->rows - first ? first + size : feed->rows;
    const int64_t step_end = accumulate <= (feed->rows - step) / size ? step + accumulate * size : feed->rows;
    fr_batch batch = {
        .count = end - first,
        .rows = end - first,
        .first = first,
        .step_rows = step_end - step,
        .opens = first == step,
        .closes = end == step_end,
        .lr = feed->rates ? feed->rates[number] : 0,
        .decay = feed->decays ? feed->decays[number] : 0,
        .step = feed->step + (feed->by_position ? 0 : (uint32_t)number),
        .line = feed->by_position ? (uint32_t)first : 0,
        .empty = 1,
    };
    for (int h = 0; h < feed->n_heads; h++) {
        const double weight = weight_of(run, h, first, end - first);
        batch.weight[h] = weight;
        batch.step_weight[h] = accumulate == 1 ? weight : weight_of(run, h, step, step_end - step);
        batch.empty &= batch.step_weight[h] == 0;
    }
    return batch;
}

/* Linux tends to wake a worker on the processor of the thread that woke it. Neither thread ever pauses long, so the
 * scheduler never separates them; they then share one processor, and a step takes tens of times as long. So a worker
 * moves when it finds one of lower number on its processor. */
static void spread_out(run_state *run, int id) {
    if (!run->barrier.spin) return; /* more workers than processors */
    const int mine = fr_cpu_here();
    atomic_store_explicit(&run->cpu[id], mine, memory_order_relaxed);
    for (int other = 0; other < id && mine >= 0; other++) {
        if (atomic_load_explicit(&run->cpu[other], memory_order_relaxed) == mine) {
            fr_cpu_leave(mine);
            return;
        }
    }
}

static void worker_main(void *arg, int id) {
    run_state *run = arg;
    fenv_t own, *mode = id == 0 ? &run->callers_mode : &own;
    fegetenv(mode);
    fr_small_is_zero();

    const fr_program *program = run->program;
    fr_worker w = {
        .id = id,
        .n = run->n,
        .program = program,
        .feed = run->feed,
        .tally = run->tally,
        .asks = asking_op(program),
        .bad_row = &run->bad_row,
        .clip = program->clip,
        .tuning = run->tuning,
        .scramble = run->options->scramble,
        .keys = fr_round_keys_of(run->feed->seed),
        .scratch = (char *)run->options->scratch + run->worker_bytes * (size_t)id + taken_bytes(program),
        .taken_stride = (int64_t)run->worker_bytes,
        .run = run,
        .abandoned = &run->abandoned,
        .look_at = now() + SECONDS_BETWEEN_LOOKS,
        .looked_in = -1,
    };
    const fr_rule *rule = moving_rule(program);
    double power[FR_POWERS];
    memcpy(power, run->power, sizeof power);

    int64_t batch = run->first;
    reset_taken(run, id, batch);
    int pending = 0; /* a step whose penalties are not yet added */
    fr_total before = {0};
    for (;; batch++) {
        if (id == 0) {
            const int late = run->deadline > 0 && batch > run->first && now() > run->deadline;
            const int failed = atomic_load_explicit(&run->failed_call, memory_order_relaxed) < FR_MAX_OPS ||
                               atomic_load_explicit(&run->bad_row, memory_order_relaxed) != INT64_MAX ||
                               atomic_load_explicit(&run->abandoned, memory_order_relaxed);
            if (batch == run->stop || late || failed || run->tally->code) {
                atomic_store_explicit(&run->halt, batch, memory_order_relaxed);
            }
        }
        if (run->alone) break;
        barrier_wait(&run->barrier);
        if (id == 0 && pending) add_penalties(run, w.batch.step_rows);
        if (id == 0 && batch > run->first) add_mean(run->tally, before, w.batch.count);
        if (id == 0) before = run->tally->head[0];
        pending = 0;
        /* a batch number, not a flag: worker 0 may already be at the end of this batch when another looks */
        if (atomic_load_explicit(&run->halt, memory_order_relaxed) <= batch) break;
        if (run->n > 1) spread_out(run, id);
        reset_taken(run, id, batch + 1);
        w.batch = batch_at(run, batch);
        memcpy(w.batch.power, power, sizeof power);
        if (rule) fr_next_powers(w.batch.power, rule);
        if (!walk(run, &w, batch)) break;
        if (w.batch.empty || !w.batch.closes) continue;
        memcpy(power, w.batch.power, sizeof power);
        pending = 1;
        if (id == 0) {
            run->tally->batches++;
            run->updates += rule != NULL;
        }
    }
    if (id == 0) {
        run->next =
            batch - (run->tally->code == FR_DIVERGED); /* the batch that diverged has run, but it is the one to name */
        memcpy(run->power, power, sizeof power);
    }
    fesetenv(mode);
}

int64_t fr_run(const fr_program *program, const fr_feed *feed, fr_tally *tally, int64_t first, int64_t stop,
               const fr_options *options) {
    assert(feed->n_heads >= 1 && feed->n_heads <= FR_MAX_HEADS);
    assert(program->n_ops <= FR_MAX_OPS && program->accumulate >= 1 && options->threads >= 1);
    assert(0 <= options->first_op && options->first_op <= options->stop_op && options->stop_op <= program->n_ops);
    assert(((uintptr_t)options->scratch & 63) == 0);
    run_state run = {
        .program = program,
        .feed = feed,
        .tally = tally,
        .options = options,
        .table = fr_current_table((fr_real)program->real),
        .first = first,
        .stop = stop,
        .next = first,
        .tuning = fr_tuning(),
        .worker_bytes = worker_bytes(program),
        .deadline = options->seconds > 0 ? now() + options->seconds : 0,
        .updates = tally->updates,
        .forks = fr_pool_forks(),
    };
    memcpy(run.power, tally->power, sizeof run.power);
    atomic_init(&run.bad_row, INT64_MAX);
    atomic_init(&run.halt, INT64_MAX);
    atomic_init(&run.failed_call, FR_MAX_OPS);
    atomic_init(&run.abandoned, 0);
    for (int i = 0; i < FR_MAX_THREADS; i++) atomic_init(&run.cpu[i], -1);
    tally->code = FR_OK;
    const int pooled = fr_pool_begin(options->threads);
    run.n = pooled;
    barrier_init(&run.barrier, run.n);
    if (run.n > 1) {
        fr_pool_start(worker_main, &run);
        worker_main(&run, 0);
        if (!run.alone) fr_pool_end(); /* the pool of a child is a new one */
    } else {
        worker_main(&run, 0);
    }
    if (!run.alone) barrier_destroy(&run.barrier); /* where others may seem to sleep */
    memcpy(tally->power, run.power, sizeof run.power);
    tally->updates = run.updates;
    if (atomic_load(&run.bad_row) != INT64_MAX) {
        const int64_t position = atomic_load(&run.bad_row);
        tally->code = FR_BAD_ROW;
        tally->bad_row = fr_index_at(feed, position);
    }
    if (atomic_load(&run.failed_call) < FR_MAX_OPS || atomic_load(&run.abandoned)) tally->code = FR_CALL_FAILED;
    if (run.alone) tally->code = FR_FORKED;
    return run.next;
}

int64_t fr_update_tiles(int64_t rows, int64_t columns) {
    return (rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP * ((columns + FR_UPDATE_COLUMNS - 1) / FR_UPDATE_COLUMNS);
}

void fr_normals(fr_real real, void *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream) {
    fr_current_table(real)->normals(out, seed, column, row, step, stream);
}

double fr_fma_loop(fr_real real, int64_t rounds, double *seconds) {
    const double start = now();
    const double flops = fr_current_table(real)->fma_loop(rounds);
    *seconds = now() - start;
    return flops;
}
