/* SPDX-License-Identifier: MIT
 *
 * A renderer as a game has one, as small as it can be: an instance, a device with one queue, and frames of a triangle
 * drawn into an image. Nothing of it knows of llmgpu but that the queue has a lock.
 */
#ifndef HOST_VULKAN_RENDERER_H
#define HOST_VULKAN_RENDERER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan.h>

enum { RENDERER_SIZE = 64, RENDERER_NO_DEVICE = 1 };

struct renderer {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    uint32_t family;
    VkQueue queue;
    pthread_mutex_t queue_lock; // held by whoever uses the queue
    VkPhysicalDeviceFeatures2 features; // that the device was created with; its chain ends in the next member
    VkPhysicalDeviceVulkan12Features features12;
    VkDebugUtilsMessengerEXT messenger;
    atomic_uint n_messages; // of the validation layer

    VkImage image;
    VkDeviceMemory image_memory;
    VkImageView view;
    VkBuffer buffer; // where a frame is copied to, to be looked at
    VkDeviceMemory buffer_memory;
    const uint8_t *pixels;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkCommandPool pool;
    VkCommandBuffer cmd;
    VkFence fence;
};

/**
 * @param validate with the validation layer, whose messages are printed and counted
 * @return 0; RENDERER_NO_DEVICE when the machine has nothing to render with; -1 for a failure, which is printed. To be
 *         destroyed in any case.
 */
int renderer_create(struct renderer *r, bool validate);
void renderer_destroy(struct renderer *r);

/** Draws a frame, waits for it and checks two pixels. Returns 0, or -1 for a failure, which is printed. */
int renderer_draw(struct renderer *r, unsigned frame);

#endif
