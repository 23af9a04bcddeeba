/* SPDX-License-Identifier: MIT */
#ifndef LG_API_DATASET_H
#define LG_API_DATASET_H

#include "api/handles.h"
#include "train/data.h"

struct llmgpu_dataset {
    llmgpu_model *model;
    struct lg_env env; // its error is the data set's
    struct lg_data *data;
    struct lg_train_batch batch; // of llmgpu_dataset_next(); made by its first call
};

#endif
