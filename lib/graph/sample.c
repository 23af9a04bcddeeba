/* SPDX-License-Identifier: MIT */
#include "graph/ops.h"

static void choose(struct lg_graph *g)
{
    struct lg_acts *a = &g->acts;
    lg_op_penalties(g, a->logits);
    lg_op_argmax(g, a->logits, a->best);
    lg_op_sample(g, a->logits, a->best);
}

void lg_sample(struct lg_graph *g)
{
    g->dim = LG_DIM_SAMPLE;
    choose(g);
    lg_op_next_rows(g);
}

void lg_sample_candidates(struct lg_graph *g)
{
    struct lg_acts *a = &g->acts;
    g->dim = LG_DIM_TOP;
    lg_op_copy(g, a->logits, a->raw, g->model->hp.n_vocab); // they are changed in place
    g->dim = LG_DIM_SAMPLE;
    choose(g);
    g->dim = LG_DIM_TOP;
    lg_op_candidates(g, a->raw, g->batch->targets, 1, a->top);
    g->dim = LG_DIM_SAMPLE;
    lg_op_next_rows(g);
}

void lg_score(struct lg_graph *g)
{
    g->dim = LG_DIM_SCORE;
    lg_op_log_prob(g, g->acts.logits, g->acts.log_probs);
}

void lg_score_candidates(struct lg_graph *g)
{
    g->dim = LG_DIM_TOP;
    lg_op_candidates(g, g->acts.logits, g->batch->targets, 1, g->acts.top);
}
