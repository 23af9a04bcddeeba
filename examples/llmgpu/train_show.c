/* SPDX-License-Identifier: MIT
 *
 * What a run shows while it goes on, and at its end.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "json.h"
#include "training.h"

enum { N_PLACES = sizeof(((struct train_history *)0)->losses) / sizeof(float) };

/* ---- history */

void train_history_add(struct train_history *h, double loss)
{
    if (h->n == N_PLACES && h->n_last == h->stride) {
        for (uint32_t i = 0; i < N_PLACES / 2; i++)
            h->losses[i] = (h->losses[2 * i] + h->losses[2 * i + 1]) / 2;
        h->n = N_PLACES / 2;
        h->stride *= 2;
        h->n_last = h->stride;
    }
    if (h->n == 0 || h->n_last == h->stride) {
        h->stride = h->stride ? h->stride : 1;
        h->losses[h->n++] = 0;
        h->n_last = 0;
    }
    float *place = &h->losses[h->n - 1];
    *place += ((float)loss - *place) / (float)++h->n_last;
}

void train_history_add_val(struct train_history *h, uint64_t step, double loss)
{
    const uint32_t room = sizeof(h->val_losses) / sizeof(h->val_losses[0]);
    if (h->n_val == room) { // every second one stays
        for (uint32_t i = 0; i < room / 2; i++) {
            h->val_steps[i] = h->val_steps[2 * i];
            h->val_losses[i] = h->val_losses[2 * i];
        }
        h->n_val = room / 2;
    }
    h->val_steps[h->n_val] = step;
    h->val_losses[h->n_val++] = (float)loss;
}

void train_sparkline(const struct train_history *h, uint32_t n, char *out)
{
    static const char bars[8][4] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                    "\u2585", "\u2586", "\u2587", "\u2588"};
    float means[256], low = 0, high = 0;
    n = n < h->n ? n : h->n;
    n = n < 256 ? n : 256;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t begin = (uint32_t)((uint64_t)h->n * i / n), end = (uint32_t)((uint64_t)h->n * (i + 1) / n);
        means[i] = 0;
        for (uint32_t k = begin; k < end; k++)
            means[i] += h->losses[k] / (float)(end - begin);
        low = i == 0 || means[i] < low ? means[i] : low;
        high = i == 0 || means[i] > high ? means[i] : high;
    }
    for (uint32_t i = 0; i < n; i++) {
        float level = high > low ? (means[i] - low) / (high - low) * 7.99f : 0;
        memcpy(out + 3 * i, bars[(int)level & 7], 3);
    }
    out[3 * n] = '\0';
}

/* ---- progress */

static uint32_t columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static const char *duration(double seconds, char *buf, size_t size)
{
    uint64_t s = seconds < 0 ? 0 : (uint64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(buf, size, "%llu:%02u:%02u", (unsigned long long)(s / 3600), (unsigned)(s / 60 % 60),
                 (unsigned)(s % 60));
    else
        snprintf(buf, size, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    return buf;
}

static void show_bar(const struct train_run *run, const char *figures)
{
    enum { BAR = 20, LINE = 24 };
    char line[3 * LINE + 1];
    uint32_t width = columns(), used = 8 + (uint32_t)strlen(figures);
    uint32_t bar = width > used + 12 ? width - used - 10 : 0, spark = 0;
    bar = bar < BAR ? bar : BAR;
    if (bar == BAR && width > used + BAR + 12)
        spark = width - used - BAR - 12;
    train_sparkline(&run->history, spark < LINE ? spark : LINE, line);
    fprintf(stderr, "\r\033[K%3u%% ", (unsigned)(run->n_steps ? 100 * run->step / run->n_steps : 100));
    for (uint32_t i = 0; i < bar; i++)
        fputs(run->step * bar > i * run->n_steps ? "\u2588" : "\u2591", stderr);
    fprintf(stderr, " %.*s %s", (int)(width - 6), figures, line);
}

void train_show(struct train_run *run, bool done)
{
    const llmgpu_train_result *result = &run->result;
    char figures[160], eta[32];
    bool terminal = isatty(STDERR_FILENO);
    double now = cli_seconds(), wait = terminal ? 0.1 : 30;
    bool tenth = run->step * 10 / run->n_steps != (run->step - 1) * 10 / run->n_steps;
    if (!done && now - run->shown < wait && (terminal || !tenth))
        return;
    run->shown = now;
    double per_step = (now - run->begin) / (double)(run->step - run->first);
    snprintf(figures, sizeof(figures), "step %llu/%llu  loss %.4f  lr %.2e  %.0f tok/s  ETA %s  %.0f MB",
             (unsigned long long)run->step, (unsigned long long)run->n_steps, result->loss, result->lr,
             run->speed, duration(per_step * (double)(run->n_steps - run->step), eta, sizeof(eta)),
             1e-6 * (double)run->info.device_bytes);
    if (terminal)
        show_bar(run, figures);
    else
        fprintf(stderr, "llmgpu: %s\n", figures);
    if (terminal && done)
        fputc('\n', stderr);
}

void train_show_val(const struct train_run *run, bool best)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    fprintf(stderr, "llmgpu: step %llu: validation loss %.4f", (unsigned long long)run->step, run->val_loss);
    if (run->val_step != run->first && run->val_before > 0)
        fprintf(stderr, ", %+.1f%% of %.4f", 100 * (run->val_loss / run->val_before - 1), run->val_before);
    fprintf(stderr, "%s\n", best ? ", the best so far" : "");
}

/* ---- the end */

static void put_loss(struct json *j, const char *name, double loss)
{
    json_key(j, name);
    if (loss < 0)
        json_null(j);
    else
        json_number(j, loss);
}

static void put_count(struct json *j, const char *name, uint64_t n)
{
    json_key(j, name);
    json_uint(j, n);
}

void train_print_json(const struct train_run *run, FILE *out)
{
    struct json j = {.out = out};
    llmgpu_dataset_stats stats;
    double seconds = cli_seconds() - run->begin;
    llmgpu_dataset_get_stats(run->data, &stats, sizeof(stats));
    json_begin(&j, '{');
    put_count(&j, "steps", run->step);
    put_count(&j, "steps_before", run->first);
    put_count(&j, "steps_planned", run->n_steps);
    put_loss(&j, "first_loss", run->first_loss);
    put_loss(&j, "loss", run->loss);
    put_loss(&j, "val_loss_before", run->val_before);
    put_loss(&j, "val_loss", run->val_loss);
    put_loss(&j, "best_val_loss", run->val_best);
    put_count(&j, "best_step", run->best_step);
    put_count(&j, "tokens", run->n_tokens);
    json_key(&j, "seconds");
    json_number(&j, seconds);
    json_key(&j, "tokens_per_second");
    json_number(&j, seconds > 0 ? (double)run->n_tokens / seconds : 0);
    put_count(&j, "params", run->info.n_params);
    put_count(&j, "device_bytes", run->info.device_bytes);
    put_count(&j, "estimated_bytes", run->info.estimated_bytes);
    put_count(&j, "samples", stats.n_samples);
    put_count(&j, "bad_lines", stats.n_bad);
    put_count(&j, "cut", stats.n_cut);
    json_key(&j, "stopped_early");
    json_bool(&j, run->stopped);
    json_key(&j, "interrupted");
    json_bool(&j, run->interrupted);
    json_key(&j, "output");
    if (run->interrupted)
        json_null(&j);
    else
        json_string(&j, run->v->out);
    json_end(&j, '}');
    fputc('\n', out);
}
