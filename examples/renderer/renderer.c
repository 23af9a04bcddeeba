/* SPDX-License-Identifier: MIT */
#include "renderer.h"

#include <stdio.h>
#include <string.h>

static const uint32_t vertex_code[] =
#include "triangle.vert.inc"
    ;
static const uint32_t fragment_code[] =
#include "triangle.frag.inc"
    ;

#define TRY(call)                                                 \
    do {                                                          \
        VkResult result_ = (call);                                \
        if (result_ < 0) {                                        \
            fprintf(stderr, "%s: VkResult %d\n", #call, result_); \
            return -1;                                            \
        }                                                         \
    } while (0)

/* ---- the instance and the device
 * --------------------------------------------------------------------------------- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    struct renderer *r = user;
    (void)severity;
    (void)types;
    atomic_fetch_add(&r->n_messages, 1);
    fprintf(stderr, "validation: %s\n", data->pMessage);
    return VK_FALSE;
}

static int create_instance(struct renderer *r, bool validate)
{
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = r,
    };
    VkValidationFeatureEnableEXT synchronization =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    VkValidationFeaturesEXT checks = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = &synchronization,
    };
    VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "host_vulkan",
        .apiVersion = VK_API_VERSION_1_2,
    };
    const char *layers[] = {"VK_LAYER_KHRONOS_validation"};
    const char *extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validate ? &checks : NULL,
        .pApplicationInfo = &app,
        .enabledLayerCount = validate,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = validate,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = vkCreateInstance(&info, NULL, &r->instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER || result == VK_ERROR_LAYER_NOT_PRESENT)
        return RENDERER_NO_DEVICE;
    TRY(result);
    if (!validate)
        return 0;
    PFN_vkCreateDebugUtilsMessengerEXT create = (PFN_vkCreateDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
        r->instance, "vkCreateDebugUtilsMessengerEXT");
    TRY(create(r->instance, &messenger, NULL, &r->messenger));
    return 0;
}

/* A queue family that draws and computes, as every GPU has. */
static bool find_family(struct renderer *r, VkPhysicalDevice physical)
{
    VkQueueFamilyProperties families[16];
    VkPhysicalDeviceProperties props;
    uint32_t n = 16;
    vkGetPhysicalDeviceProperties(physical, &props);
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    for (uint32_t i = 0; i < n && props.apiVersion >= VK_API_VERSION_1_2; i++)
        if (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT && families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            r->physical = physical;
            r->family = i;
            return true;
        }
    return false;
}

static int create_device(struct renderer *r)
{
    VkPhysicalDevice physical[8];
    uint32_t n = 8, i = 0;
    TRY(vkEnumeratePhysicalDevices(r->instance, &n, physical));
    while (i < n && !find_family(r, physical[i]))
        i++;
    if (i == n)
        return RENDERER_NO_DEVICE;
    r->features12 = (VkPhysicalDeviceVulkan12Features){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .timelineSemaphore = VK_TRUE, // the one feature that llmgpu needs
    };
    r->features = (VkPhysicalDeviceFeatures2){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &r->features12,
    };
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = r->family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &r->features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
    };
    TRY(vkCreateDevice(r->physical, &info, NULL, &r->device));
    vkGetDeviceQueue(r->device, r->family, 0, &r->queue);
    return 0;
}

/* ---- what is drawn into, and where it is looked at
 * --------------------------------------------------------------- */

static int allocate(struct renderer *r, const VkMemoryRequirements *req, VkMemoryPropertyFlags wanted,
                    VkDeviceMemory *out)
{
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(r->physical, &memory);
    uint32_t type = 0;
    while (type < memory.memoryTypeCount && (!(req->memoryTypeBits >> type & 1) ||
                                             (memory.memoryTypes[type].propertyFlags & wanted) != wanted))
        type++;
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = req->size,
        .memoryTypeIndex = type,
    };
    TRY(vkAllocateMemory(r->device, &info, NULL, out));
    return 0;
}

static int create_image(struct renderer *r)
{
    VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = {RENDERER_SIZE, RENDERER_SIZE, 1},
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT,
    };
    TRY(vkCreateImage(r->device, &info, NULL, &r->image));
    VkMemoryRequirements req;
    vkGetImageMemoryRequirements(r->device, r->image, &req);
    if (allocate(r, &req, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, &r->image_memory) < 0)
        return -1;
    TRY(vkBindImageMemory(r->device, r->image, r->image_memory, 0));
    VkImageViewCreateInfo view = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
        .image = r->image,
        .viewType = VK_IMAGE_VIEW_TYPE_2D,
        .format = info.format,
        .subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1},
    };
    TRY(vkCreateImageView(r->device, &view, NULL, &r->view));
    return 0;
}

static int create_buffer(struct renderer *r)
{
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = RENDERER_SIZE * RENDERER_SIZE * 4,
        .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    TRY(vkCreateBuffer(r->device, &info, NULL, &r->buffer));
    VkMemoryRequirements req;
    vkGetBufferMemoryRequirements(r->device, r->buffer, &req);
    if (allocate(r, &req, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                 &r->buffer_memory) < 0)
        return -1;
    TRY(vkBindBufferMemory(r->device, r->buffer, r->buffer_memory, 0));
    void *map;
    TRY(vkMapMemory(r->device, r->buffer_memory, 0, VK_WHOLE_SIZE, 0, &map));
    r->pixels = map;
    return 0;
}

/* ---- how it is drawn
 * --------------------------------------------------------------------------------------------- */

static int create_pass(struct renderer *r)
{
    VkAttachmentDescription attachment = {
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
        .finalLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
    };
    VkAttachmentReference color = {.layout = VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL};
    VkSubpassDescription subpass = {.colorAttachmentCount = 1, .pColorAttachments = &color};
    VkSubpassDependency then_copy = {
        .dstSubpass = VK_SUBPASS_EXTERNAL,
        .srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_TRANSFER_BIT,
        .srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT,
    };
    VkRenderPassCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &attachment,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = 1,
        .pDependencies = &then_copy,
    };
    TRY(vkCreateRenderPass(r->device, &info, NULL, &r->pass));
    VkFramebufferCreateInfo framebuffer = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
        .renderPass = r->pass,
        .attachmentCount = 1,
        .pAttachments = &r->view,
        .width = RENDERER_SIZE,
        .height = RENDERER_SIZE,
        .layers = 1,
    };
    TRY(vkCreateFramebuffer(r->device, &framebuffer, NULL, &r->framebuffer));
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &(VkPushConstantRange){VK_SHADER_STAGE_FRAGMENT_BIT, 0, 4 * sizeof(float)},
    };
    TRY(vkCreatePipelineLayout(r->device, &layout, NULL, &r->layout));
    return 0;
}

/* The pipeline of two shader modules, with everything else left at the simplest. */
static VkResult link_pipeline(struct renderer *r, VkShaderModule vertex, VkShaderModule fragment)
{
    VkPipelineShaderStageCreateInfo stages[2] = {
        {.stage = VK_SHADER_STAGE_VERTEX_BIT, .module = vertex},
        {.stage = VK_SHADER_STAGE_FRAGMENT_BIT, .module = fragment},
    };
    for (int i = 0; i < 2; i++) {
        stages[i].sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
        stages[i].pName = "main";
    }
    VkPipelineVertexInputStateCreateInfo input = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO,
    };
    VkPipelineInputAssemblyStateCreateInfo assembly = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO,
        .topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST,
    };
    VkPipelineViewportStateCreateInfo viewport = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO,
        .viewportCount = 1,
        .pViewports = &(VkViewport){0, 0, RENDERER_SIZE, RENDERER_SIZE, 0, 1},
        .scissorCount = 1,
        .pScissors = &(VkRect2D){{0, 0}, {RENDERER_SIZE, RENDERER_SIZE}},
    };
    VkPipelineRasterizationStateCreateInfo raster = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO,
        .lineWidth = 1,
    };
    VkPipelineMultisampleStateCreateInfo samples = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO,
        .rasterizationSamples = VK_SAMPLE_COUNT_1_BIT,
    };
    VkPipelineColorBlendAttachmentState channels = {
        .colorWriteMask = VK_COLOR_COMPONENT_R_BIT | VK_COLOR_COMPONENT_G_BIT | VK_COLOR_COMPONENT_B_BIT |
                          VK_COLOR_COMPONENT_A_BIT,
    };
    VkPipelineColorBlendStateCreateInfo blend = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &channels,
    };
    VkGraphicsPipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO,
        .stageCount = 2,
        .pStages = stages,
        .pVertexInputState = &input,
        .pInputAssemblyState = &assembly,
        .pViewportState = &viewport,
        .pRasterizationState = &raster,
        .pMultisampleState = &samples,
        .pColorBlendState = &blend,
        .layout = r->layout,
        .renderPass = r->pass,
    };
    return vkCreateGraphicsPipelines(r->device, VK_NULL_HANDLE, 1, &info, NULL, &r->pipeline);
}

static int create_pipeline(struct renderer *r)
{
    VkShaderModuleCreateInfo vertex_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = sizeof(vertex_code),
        .pCode = vertex_code,
    };
    VkShaderModuleCreateInfo fragment_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = sizeof(fragment_code),
        .pCode = fragment_code,
    };
    VkShaderModule vertex = VK_NULL_HANDLE, fragment = VK_NULL_HANDLE;
    VkResult result = vkCreateShaderModule(r->device, &vertex_info, NULL, &vertex);
    if (result >= 0)
        result = vkCreateShaderModule(r->device, &fragment_info, NULL, &fragment);
    if (result >= 0)
        result = link_pipeline(r, vertex, fragment);
    vkDestroyShaderModule(r->device, vertex, NULL);
    vkDestroyShaderModule(r->device, fragment, NULL);
    TRY(result);
    return 0;
}

static int create_commands(struct renderer *r)
{
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = r->family,
    };
    TRY(vkCreateCommandPool(r->device, &pool, NULL, &r->pool));
    VkCommandBufferAllocateInfo cmd = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = r->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    TRY(vkAllocateCommandBuffers(r->device, &cmd, &r->cmd));
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    TRY(vkCreateFence(r->device, &fence, NULL, &r->fence));
    return 0;
}

int renderer_create(struct renderer *r, bool validate)
{
    memset(r, 0, sizeof(*r));
    pthread_mutex_init(&r->queue_lock, NULL);
    int rc = create_instance(r, validate);
    if (rc == 0)
        rc = create_device(r);
    if (rc != 0)
        return rc;
    int (*const rest[])(struct renderer *) = {create_image, create_buffer, create_pass, create_pipeline,
                                              create_commands};
    for (size_t i = 0; rc == 0 && i < sizeof(rest) / sizeof(rest[0]); i++)
        rc = rest[i](r);
    return rc;
}

void renderer_destroy(struct renderer *r)
{
    if (r->device) {
        vkDeviceWaitIdle(r->device);
        vkDestroyFence(r->device, r->fence, NULL);
        vkDestroyCommandPool(r->device, r->pool, NULL);
        vkDestroyPipeline(r->device, r->pipeline, NULL);
        vkDestroyPipelineLayout(r->device, r->layout, NULL);
        vkDestroyFramebuffer(r->device, r->framebuffer, NULL);
        vkDestroyRenderPass(r->device, r->pass, NULL);
        vkDestroyBuffer(r->device, r->buffer, NULL);
        vkFreeMemory(r->device, r->buffer_memory, NULL);
        vkDestroyImageView(r->device, r->view, NULL);
        vkDestroyImage(r->device, r->image, NULL);
        vkFreeMemory(r->device, r->image_memory, NULL);
        vkDestroyDevice(r->device, NULL);
    }
    if (r->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)vkGetInstanceProcAddr(r->instance,
                                                                       "vkDestroyDebugUtilsMessengerEXT");
        destroy(r->instance, r->messenger, NULL);
    }
    if (r->instance)
        vkDestroyInstance(r->instance, NULL);
    pthread_mutex_destroy(&r->queue_lock);
}

/* ---- a frame
 * ----------------------------------------------------------------------------------------------------- */

static int record(struct renderer *r, const float ground[4], const float triangle[4])
{
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    TRY(vkBeginCommandBuffer(r->cmd, &begin));
    VkClearValue clear = {.color = {.float32 = {ground[0], ground[1], ground[2], ground[3]}}};
    VkRenderPassBeginInfo pass = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
        .renderPass = r->pass,
        .framebuffer = r->framebuffer,
        .renderArea = {{0, 0}, {RENDERER_SIZE, RENDERER_SIZE}},
        .clearValueCount = 1,
        .pClearValues = &clear,
    };
    vkCmdBeginRenderPass(r->cmd, &pass, VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(r->cmd, VK_PIPELINE_BIND_POINT_GRAPHICS, r->pipeline);
    vkCmdPushConstants(r->cmd, r->layout, VK_SHADER_STAGE_FRAGMENT_BIT, 0, 4 * sizeof(float), triangle);
    vkCmdDraw(r->cmd, 3, 1, 0, 0);
    vkCmdEndRenderPass(r->cmd);
    VkBufferImageCopy region = {
        .imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
        .imageExtent = {RENDERER_SIZE, RENDERER_SIZE, 1},
    };
    vkCmdCopyImageToBuffer(r->cmd, r->image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, r->buffer, 1, &region);
    VkMemoryBarrier to_host = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
    };
    vkCmdPipelineBarrier(r->cmd, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &to_host,
                         0, NULL, 0, NULL);
    TRY(vkEndCommandBuffer(r->cmd));
    return 0;
}

static int check_pixel(const struct renderer *r, unsigned x, unsigned y, const float color[4])
{
    const uint8_t *pixel = r->pixels + 4 * (RENDERER_SIZE * y + x);
    for (int i = 0; i < 4; i++)
        if (pixel[i] != (uint8_t)(255 * color[i] + 0.5f)) {
            fprintf(stderr, "pixel %u, %u: channel %d is %u, not %g\n", x, y, i, pixel[i], 255 * color[i]);
            return -1;
        }
    return 0;
}

int renderer_draw(struct renderer *r, unsigned frame)
{
    const float ground[4] = {(float)(frame % 256) / 255, 0, 0, 1};
    const float triangle[4] = {0, (float)(frame / 256 % 256) / 255, (float)(255 - frame % 256) / 255, 1};
    if (record(r, ground, triangle) < 0)
        return -1;
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &r->cmd,
    };
    pthread_mutex_lock(&r->queue_lock);
    VkResult result = vkQueueSubmit(r->queue, 1, &submit, r->fence);
    pthread_mutex_unlock(&r->queue_lock);
    TRY(result);
    TRY(vkWaitForFences(r->device, 1, &r->fence, VK_TRUE, UINT64_MAX));
    TRY(vkResetFences(r->device, 1, &r->fence));
    if (check_pixel(r, 0, 0, ground) < 0)
        return -1;
    return check_pixel(r, RENDERER_SIZE / 2, RENDERER_SIZE / 2, triangle);
}
