/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "device/vulkan/vk.h"

/* Whether the loader, or the layer when there is such a one, has an instance extension. */
static int find_extension(struct lg_vk_instance *inst, const char *layer, const char *name, bool *found)
{
    static const char what[] = "vkEnumerateInstanceExtensionProperties";
    struct lg_env *env = inst->env;
    *found = false;
    uint32_t n = 0;
    VkResult result = inst->global.vkEnumerateInstanceExtensionProperties(layer, &n, NULL);
    if (result == VK_ERROR_LAYER_NOT_PRESENT)
        return 0;
    LG_TRY(lg_vk_result(env, result, what));
    if (!n)
        return 0;
    VkExtensionProperties *extensions = lg_alloc_array(env, n, sizeof(*extensions));
    if (!extensions)
        return lg_fail_nomem(env, "the list of Vulkan extensions", n * sizeof(*extensions));
    result = inst->global.vkEnumerateInstanceExtensionProperties(layer, &n, extensions);
    for (uint32_t i = 0; result >= 0 && i < n; i++)
        *found |= strcmp(extensions[i].extensionName, name) == 0;
    lg_free(env, extensions);
    return lg_vk_result(env, result, what);
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity;
    (void)types;
    struct lg_vk_instance *inst = user;
    __atomic_fetch_add(inst->n_messages, 1, __ATOMIC_RELAXED);
    lg_log(inst->env, LG_LOG_ERROR, "validation: %s", data->pMessage);
    return VK_FALSE;
}

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

static const VkDebugUtilsMessengerCreateInfoEXT messenger_template = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity =
        VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
    .pfnUserCallback = on_message,
};

/* Leaves inst->handle null, without a failure, when the machine has no driver. */
static int create_instance(struct lg_vk_instance *inst)
{
    struct lg_env *env = inst->env;
    bool validate = inst->n_messages;
    bool has_portability, has_validation;
    LG_TRY(find_extension(inst, NULL, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME, &has_portability));
    LG_TRY(
        find_extension(inst, validation_layer, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME, &has_validation));
    if (validate && !has_validation)
        return lg_fail(env, LLMGPU_E_UNSUPPORTED,
                       "checking needs the Vulkan layer %s, which is not installed", validation_layer);

    const char *extensions[3];
    uint32_t n_extensions = 0;
    if (has_portability)
        extensions[n_extensions++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
    if (validate) {
        extensions[n_extensions++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
        extensions[n_extensions++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    }
    VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_template; // for the messages of creation itself
    messenger.pUserData = inst;
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures =
            (VkValidationFeatureEnableEXT[]){VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT},
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validate ? &features : NULL,
        .flags = has_portability ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo =
            &(VkApplicationInfo){
                .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                .pEngineName = "libllmgpu",
                .apiVersion = inst->version,
            },
        .enabledLayerCount = validate,
        .ppEnabledLayerNames = (const char *[]){validation_layer},
        .enabledExtensionCount = n_extensions,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = inst->global.vkCreateInstance(&info, NULL, &inst->handle);
    if (result >= 0)
        return 0;
    inst->handle = VK_NULL_HANDLE;
    if (result != VK_ERROR_INCOMPATIBLE_DRIVER && result != VK_ERROR_INITIALIZATION_FAILED)
        return lg_vk_result(env, result, "vkCreateInstance");
    lg_log(env, LG_LOG_INFO, "no Vulkan driver on this machine (VkResult %d)", result);
    return 0;
}

static int create_messenger(struct lg_vk_instance *inst)
{
    VkDebugUtilsMessengerCreateInfoEXT info = messenger_template;
    info.pUserData = inst;
    return lg_vk_result(inst->env,
                        inst->fn.vkCreateDebugUtilsMessengerEXT(inst->handle, &info, NULL, &inst->messenger),
                        "vkCreateDebugUtilsMessengerEXT");
}

static int enumerate(struct lg_vk_instance *inst)
{
    struct lg_env *env = inst->env;
    uint32_t n = 0;
    VkResult result = inst->fn.vkEnumeratePhysicalDevices(inst->handle, &n, NULL);
    if (result == VK_ERROR_INITIALIZATION_FAILED) // of what there is, no driver works
        return 0;
    LG_TRY(lg_vk_result(env, result, "vkEnumeratePhysicalDevices"));
    if (!n)
        return 0;
    inst->physical = lg_alloc_array(env, n, sizeof(*inst->physical));
    if (!inst->physical)
        return lg_fail_nomem(env, "the list of Vulkan devices", n * sizeof(*inst->physical));
    result = inst->fn.vkEnumeratePhysicalDevices(inst->handle, &n, inst->physical);
    LG_TRY(lg_vk_result(env, result, "vkEnumeratePhysicalDevices"));
    inst->n_physical = n;
    return 0;
}

/* Opens the loader; inst->version stays 0, without a failure, when the machine has none that will do. */
static int open_loader(struct lg_vk_instance *inst, PFN_vkGetInstanceProcAddr get)
{
    struct lg_env *env = inst->env;
    if (!lg_vk_loader_open(&inst->loader, get)) {
        lg_log(env, LG_LOG_INFO, "no Vulkan loader on this machine");
        return 0;
    }
    uint32_t version = 0;
    VkResult result = VK_SUCCESS;
    if (lg_vk_load_globals(inst))
        result = inst->global.vkEnumerateInstanceVersion(&version);
    LG_TRY(lg_vk_result(env, result, "vkEnumerateInstanceVersion"));
    if (version < VK_API_VERSION_1_2)
        lg_log(env, LG_LOG_INFO, "the Vulkan loader is older than 1.2");
    else
        inst->version = version < VK_API_VERSION_1_3 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_3;
    return 0;
}

int lg_vk_instance_init(struct lg_vk_instance *inst, struct lg_env *env, PFN_vkGetInstanceProcAddr get,
                        uint32_t *n_messages)
{
    memset(inst, 0, sizeof(*inst));
    inst->env = env;
    inst->n_messages = n_messages;
    LG_TRY(open_loader(inst, get));
    if (!inst->version)
        return 0;
    LG_TRY(create_instance(inst));
    if (!inst->handle)
        return 0;
    LG_TRY(lg_vk_load_instance(inst));
    if (n_messages)
        LG_TRY(create_messenger(inst));
    return enumerate(inst);
}

void lg_vk_instance_finish(struct lg_vk_instance *inst)
{
    if (inst->messenger)
        inst->fn.vkDestroyDebugUtilsMessengerEXT(inst->handle, inst->messenger, NULL);
    if (inst->handle && !inst->is_hosts && inst->fn.vkDestroyInstance)
        inst->fn.vkDestroyInstance(inst->handle, NULL);
    lg_vk_loader_close(&inst->loader);
    if (inst->env)
        lg_free(inst->env, inst->physical);
    memset(inst, 0, sizeof(*inst));
}
