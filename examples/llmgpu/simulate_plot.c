/* SPDX-License-Identifier: MIT
 *
 * A simulated day as SVG: above the temperature, between its extremes and as a mean, below the speed.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulate.h"

enum { WIDTH = 860, LEFT = 60, RIGHT = 20, N_TICKS = 5 };

/** A part of the picture with an axis of its own. */
struct panel {
    double top, bottom; // pixels
    double low, high;   // values there
    const char *unit;
};

static double place_x(double share)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * share;
}

static double place_y(const struct panel *p, double value)
{
    return p->top + (p->bottom - p->top) * (p->high - value) / (p->high - p->low);
}

/** From a round number below all values to one above. */
static void round_range(struct panel *p, double unit)
{
    p->low = unit * floor(p->low / unit);
    p->high = unit * ceil(p->high / unit);
    if (p->high <= p->low)
        p->high = p->low + unit;
}

static void put_axis(FILE *out, const struct panel *p)
{
    for (int i = 0; i <= N_TICKS; i++) {
        double value = p->low + (p->high - p->low) * i / N_TICKS, y = place_y(p, value);
        fprintf(out,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, value);
    }
    fprintf(out, "<text x=\"8\" y=\"%.1f\">%s</text>\n", p->top - 8, p->unit);
}

static void put_hours(FILE *out, double hours, double y)
{
    double unit = hours > 12 ? 4 : hours > 4 ? 1 : hours / 4;
    for (double h = 0; h <= hours + 1e-9; h += unit)
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.3g h</text>\n", place_x(h / hours),
                y, h);
}

static void put_band(FILE *out, const struct panel *p, const struct simulate_result *r)
{
    fprintf(out, "<polygon class=\"%s\" points=\"", simulate_policy_name(r->policy));
    for (uint32_t i = 0; i < r->n_points; i++)
        fprintf(out, "%.1f,%.1f ", place_x((i + 0.5) / r->n_points), place_y(p, (double)r->points[i].high));
    for (uint32_t i = r->n_points; i-- > 0;)
        fprintf(out, "%.1f,%.1f ", place_x((i + 0.5) / r->n_points), place_y(p, (double)r->points[i].low));
    fputs("\"/>\n", out);
}

static void put_curve(FILE *out, const struct panel *p, const struct simulate_result *r, bool speed)
{
    fprintf(out, "<polyline class=\"%s\" points=\"", simulate_policy_name(r->policy));
    for (uint32_t i = 0; i < r->n_points; i++)
        fprintf(out, "%.1f,%.1f ", place_x((i + 0.5) / r->n_points),
                place_y(p, (double)(speed ? r->points[i].speed : r->points[i].mean)));
    fputs("\"/>\n", out);
}

static void put_legend(FILE *out, const struct simulate_result *results, uint32_t n)
{
    fprintf(out, "<text x=\"%d\" y=\"20\">%s; target %g C, it slows down at %g C</text>\n", LEFT,
            results->kind->title, results->target, results->kind->limit);
    for (uint32_t i = 0; i < n; i++)
        fprintf(out,
                "<line class=\"%s\" x1=\"%u\" x2=\"%u\" y1=\"36\" y2=\"36\"/>"
                "<text x=\"%u\" y=\"40\">%s: %.1f tokens/s</text>\n",
                simulate_policy_name(results[i].policy), LEFT + 190 * i, LEFT + 24 + 190 * i,
                LEFT + 30 + 190 * i, simulate_policy_name(results[i].policy),
                results[i].tokens / (3600 * results[i].hours));
}

static void put_plot(FILE *out, const struct simulate_result *results, uint32_t n)
{
    const struct simulate_result *first = results;
    struct panel heat = {
        .top = 70, .bottom = 300, .low = INFINITY, .high = first->kind->limit + 2, .unit = "C"};
    struct panel speed = {
        .top = 340, .bottom = 480, .low = 0, .high = first->kind->tokens, .unit = "tokens/s"};
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 0; i < results[k].n_points; i++)
            heat.low = fmin(heat.low, (double)results[k].points[i].low);
    round_range(&heat, 10);
    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d 520\" width=\"%d\" height=\"520\">\n"
        "<style>text{font:12px sans-serif;fill:#444}.grid{stroke:#ddd}polyline{fill:none;stroke-width:1.5}"
        "polygon{fill-opacity:.25}line{stroke-width:2}line.grid{stroke-width:1}"
        "line.off,polyline.off{stroke:#d1602a}polygon.off{fill:#d1602a}"
        "line.ramp,polyline.ramp{stroke:#7a8f3c}polygon.ramp{fill:#7a8f3c}"
        "line.control,polyline.control{stroke:#1f6fb5}polygon.control{fill:#1f6fb5}</style>\n"
        "<rect width=\"%d\" height=\"520\" fill=\"#fff\"/>\n",
        WIDTH, WIDTH, WIDTH);
    put_axis(out, &heat);
    put_axis(out, &speed);
    put_hours(out, first->hours, 505);
    for (uint32_t k = 0; k < n; k++)
        put_band(out, &heat, &results[k]);
    for (uint32_t k = 0; k < n; k++) {
        put_curve(out, &heat, &results[k], false);
        put_curve(out, &speed, &results[k], true);
    }
    put_legend(out, results, n);
    fputs("</svg>\n", out);
}

bool simulate_plot(const char *path, const struct simulate_result *results, uint32_t n)
{
    size_t size = strlen(path) + sizeof(".tmp");
    char *temp = malloc(size);
    if (!temp)
        return false;
    snprintf(temp, size, "%s.tmp", path);
    FILE *out = fopen(temp, "w");
    bool good = out != NULL;
    if (out) {
        put_plot(out, results, n);
        good = !ferror(out);
        good = fclose(out) == 0 && good && rename(temp, path) == 0;
    }
    int why = errno;
    if (out && !good)
        remove(temp);
    free(temp);
    errno = why;
    return good;
}
