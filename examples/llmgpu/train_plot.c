/* SPDX-License-Identifier: MIT
 *
 * The curve of a run as SVG: losses of steps, their moving mean, and validation losses.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "training.h"

enum { WIDTH = 800, HEIGHT = 400, LEFT = 60, RIGHT = 20, TOP = 30, BOTTOM = 40 };

struct plot {
    FILE *out;
    const struct train_history *h;
    double low, high; // losses
    double steps;     // on the x axis
};

static double place_x(const struct plot *p, double step)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * step / p->steps;
}

static double place_y(const struct plot *p, double loss)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (p->high - loss) / (p->high - p->low);
}

/** The largest of 1, 2 and 5 times a power of ten of which at least four fit. */
static double nice_step(double range)
{
    double unit = pow(10, floor(log10(range / 4)));
    double n = range / 4 / unit;
    return unit * (n >= 5 ? 5 : n >= 2 ? 2 : 1);
}

static void find_range(struct plot *p)
{
    const struct train_history *h = p->h;
    p->low = INFINITY;
    p->high = -INFINITY;
    for (uint32_t i = 0; i < h->n; i++) {
        p->low = fmin(p->low, (double)h->losses[i]);
        p->high = fmax(p->high, (double)h->losses[i]);
    }
    for (uint32_t i = 0; i < h->n_val; i++) {
        p->low = fmin(p->low, (double)h->val_losses[i]);
        p->high = fmax(p->high, (double)h->val_losses[i]);
    }
    if (!(p->high > p->low)) {
        p->low = isfinite(p->low) ? p->low - 0.5 : 0;
        p->high = p->low + 1;
    }
}

static void put_axes(const struct plot *p)
{
    double unit = nice_step(p->high - p->low);
    for (double y = ceil(p->low / unit) * unit; y <= p->high; y += unit)
        fprintf(p->out,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                LEFT, WIDTH - RIGHT, place_y(p, y), place_y(p, y), LEFT - 6, place_y(p, y) + 4, y);
    unit = fmax(1, nice_step(p->steps));
    for (double x = 0; x <= p->steps; x += unit)
        fprintf(p->out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n", place_x(p, x),
                HEIGHT - BOTTOM + 18, x);
    fprintf(p->out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
}

/** The losses, or their mean over the last few. */
static void put_curve(const struct plot *p, bool mean)
{
    const struct train_history *h = p->h;
    const double keep = mean ? 0.9 : 0;
    double sum = 0, weight = 0;
    fprintf(p->out, "<polyline class=\"%s\" points=\"", mean ? "mean" : "loss");
    for (uint32_t i = 0; i < h->n; i++) {
        double step = (i + 1) * (double)h->stride - (i + 1 == h->n ? h->stride - h->n_last : 0);
        sum = keep * sum + (1 - keep) * (double)h->losses[i];
        weight = keep * weight + 1 - keep;
        fprintf(p->out, "%.1f,%.1f ", place_x(p, step), place_y(p, sum / weight));
    }
    fputs("\"/>\n", p->out);
}

static void put_validation(const struct plot *p)
{
    const struct train_history *h = p->h;
    fputs("<polyline class=\"val\" points=\"", p->out);
    for (uint32_t i = 0; i < h->n_val; i++)
        fprintf(p->out, "%.1f,%.1f ", place_x(p, (double)h->val_steps[i]),
                place_y(p, (double)h->val_losses[i]));
    fputs("\"/>\n", p->out);
    for (uint32_t i = 0; i < h->n_val; i++)
        fprintf(
            p->out,
            "<circle class=\"val\" r=\"3\" cx=\"%.1f\" cy=\"%.1f\"><title>step %llu: %.4f</title></circle>\n",
            place_x(p, (double)h->val_steps[i]), place_y(p, (double)h->val_losses[i]),
            (unsigned long long)h->val_steps[i], (double)h->val_losses[i]);
}

static void put_plot(const struct train_run *run, FILE *out)
{
    struct plot p = {.out = out, .h = &run->history, .steps = fmax(1, (double)run->n_steps)};
    find_range(&p);
    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n"
        "<style>text{font:12px sans-serif;fill:#444}.grid{stroke:#ddd}polyline{fill:none}"
        ".loss{stroke:#9cc3e6}.mean{stroke:#1f6fb5;stroke-width:2}polyline.val{stroke:#d1602a;stroke-width:2}"
        "circle.val{fill:#d1602a}</style>\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    put_axes(&p);
    put_curve(&p, false);
    put_curve(&p, true);
    if (run->history.n_val > 0)
        put_validation(&p);
    fprintf(out, "<text x=\"%d\" y=\"18\">step %llu of %llu: loss %.4f", LEFT, (unsigned long long)run->step,
            (unsigned long long)run->n_steps, run->loss);
    if (run->val_loss >= 0)
        fprintf(out, ", validation %.4f", run->val_loss);
    fputs("</text>\n</svg>\n", out);
}

bool train_plot(const struct train_run *run)
{
    size_t size = strlen(run->names.plot) + sizeof(".tmp");
    char *temp = malloc(size);
    if (!temp)
        return false;
    snprintf(temp, size, "%s.tmp", run->names.plot);
    FILE *out = fopen(temp, "w");
    bool good = out != NULL;
    if (out) {
        put_plot(run, out);
        good = !ferror(out);
        good = fclose(out) == 0 && good && rename(temp, run->names.plot) == 0;
    }
    int why = errno;
    if (out && !good)
        remove(temp);
    free(temp);
    errno = why;
    return good;
}
