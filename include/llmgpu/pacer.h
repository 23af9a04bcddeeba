/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Homeostasis: sensors of a device, and a pacer that puts pauses between slices of work so that the device stays below a
 * temperature and within a power budget. Nothing of the device is set; it is only given less to do. Experimental.
 *
 *     llmgpu_sensors_open(&sensors, &sensor_params);
 *     llmgpu_pacer_create(&pacer, &pacer_params);
 *     while (there is work) {
 *         work on a slice, which takes worked_us;
 *         if (some 200 ms have passed) {
 *             llmgpu_sensors_read(sensors, &reading, sizeof(reading));
 *             llmgpu_pacer_observe(pacer, &reading, sizeof(reading), now_us);
 *         }
 *         sleep for llmgpu_pacer_pause(pacer, now_us, worked_us) microseconds;
 *     }
 *
 * A pacer is told the time and never asks for it, so that it runs as well on a simulated device.
 */
#ifndef LLMGPU_PACER_H
#define LLMGPU_PACER_H

#include "llmgpu/context.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/* ---- readings ---------------------------------------------------------------------------------------------------- */

/** A number that a sensor gave. What is not known has no number: its value is 0 and means nothing. */
typedef struct llmgpu_measure {
    double value;    /**< in the unit that its place in llmgpu_reading has; 0 when it is not known */
    double age;      /**< seconds since it was measured, 0 or more */
    uint32_t known;  /**< 1, or 0: the sensor is absent, failed, or gave what cannot be */
    char source[20]; /**< where it is from: "nvml", "amdgpu", "nvidia-smi", "host"; "" when not known */
} llmgpu_measure;

/** Why a device has slowed down, or-ed in llmgpu_reading::throttle. */
enum llmgpu_throttle {
    LLMGPU_THROTTLE_THERMAL = 1, /**< it is too hot */
    LLMGPU_THROTTLE_POWER = 2,   /**< it takes as much power as it may */
    LLMGPU_THROTTLE_OTHER = 4,   /**< something else, as a broken supply */
};

/** What is known of a device at a moment. One of zeros knows nothing. */
typedef struct llmgpu_reading {
    llmgpu_measure temperature;          /**< degrees Celsius, of the die */
    llmgpu_measure hotspot;              /**< degrees Celsius, of its hottest place, where that is told beside */
    llmgpu_measure memory_temperature;   /**< degrees Celsius, of the device's memory */
    llmgpu_measure temperature_limit;    /**< degrees Celsius at which the device slows down by itself */
    llmgpu_measure temperature_critical; /**< degrees Celsius at which it turns itself off */
    llmgpu_measure power;                /**< watts */
    llmgpu_measure power_limit;          /**< watts that it holds itself to */
    llmgpu_measure clock;                /**< megahertz of what computes */
    llmgpu_measure clock_max;            /**< megahertz, the most that it runs at */
    llmgpu_measure throttle;             /**< llmgpu_throttle, or-ed */
    llmgpu_measure busy;                 /**< share of the time in which it computed, 0 .. 1 */
    llmgpu_measure memory_used;          /**< bytes */
    llmgpu_measure memory_total;         /**< bytes */
    llmgpu_measure energy;               /**< joules that it has taken since some moment: a counter that only grows */
    llmgpu_measure on_battery;           /**< 1: the machine runs on its battery; 0: it is plugged in */
} llmgpu_reading;

/**
 * A sensor of the host's own, asked before all others; what it leaves unknown is taken from them.
 *
 * @param user as given
 * @param out  zeros; measures to be filled, with `known` set to 1, and their age
 * @return 0; anything else: it knows nothing now
 */
typedef int (*llmgpu_sensor_fn)(void *user, llmgpu_reading *out);

/* ---- sensors ----------------------------------------------------------------------------------------------------- */

/**
 * The sensors of a device.
 *
 * @par Thread-safety: safe
 */
typedef struct llmgpu_sensors llmgpu_sensors;

/** Parameters of llmgpu_sensors_open(). All is copied. */
typedef struct llmgpu_sensor_params {
    uint32_t size;          /**< set by llmgpu_sensor_params_init() */
    uint32_t every_ms;      /**< milliseconds between two measurements while somebody reads, 1 .. 60000, default 200 */
    const char *device;     /**< as llmgpu_context_params::device; NULL (default): "auto" */
    const char *pci;        /**< PCI address such as "0000:01:00.0", in place of `device`; NULL (default): none */
    const char *root;       /**< the folder that stands for "/", for made-up trees; then only its files are read, and a library
                                 or program only where it is named below; the device "auto" is the tree's only GPU, or its CPU;
                                 NULL (default): "/" */
    const char *nvml;       /**< path of NVIDIA's management library; "": it is not used; NULL (default): where the system
                                 has it */
    const char *nvidia_smi; /**< path of the program; "": it is not used; NULL (default): where the system has it */
    llmgpu_sensor_fn host;  /**< NULL (default): none. Called on a thread of the sensors' own */
    void *host_user;        /**< passed to `host` */
} llmgpu_sensor_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_sensor_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_sensor_params_init(llmgpu_sensor_params *params, size_t size);

/**
 * Finds the sensors of a device, and waits up to a second and a half for what they say first. That there are none is no
 * failure: then every measure is unknown. They are asked on a thread of their own, while somebody reads.
 *
 * @param out    to be freed with llmgpu_sensors_free(); NULL on failure
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_NO_DEVICE when there is no such device; LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_sensors_open(llmgpu_sensors **out, const llmgpu_sensor_params *params);

/**
 * Frees sensors; a program that they asked ends.
 *
 * @param sensors NULL is allowed
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_sensors_free(llmgpu_sensors *sensors);

/**
 * Gives what was measured last, with its age; it never waits for a sensor, and takes less than a microsecond. What is absurd,
 * fails or is older than 5 s (or four times `every_ms`) is unknown. Sensors that nobody asks for ten seconds rest until
 * somebody does.
 *
 * @param sensors to ask
 * @param out     to fill
 * @param size    sizeof(llmgpu_reading)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_sensors_read(llmgpu_sensors *sensors, llmgpu_reading *out, size_t size);

/** What a device took in some time. */
typedef struct llmgpu_energy {
    double joules;     /**< since the sensors were opened, by the device's own counter where it has one, else by its power */
    uint64_t known_us; /**< microseconds that they are of: in the others, nothing was known */
    uint64_t span_us;  /**< microseconds that were watched, until the last measurement */
} llmgpu_energy;

/**
 * Gives the energy so far. Joules of a piece of work are the difference of two of these; they are as good as known_us is near
 * to span_us. Sensors must be read, or this be called, at least every ten seconds in between.
 *
 * @param sensors to ask
 * @param out     to fill
 * @param size    sizeof(llmgpu_energy)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_sensors_energy(llmgpu_sensors *sensors, llmgpu_energy *out, size_t size);

/**
 * Says which sensors there are and why others are not used, a line for each.
 *
 * @param sensors  to describe
 * @param text     receives the lines, and a NUL behind them where there is room; may be NULL when `capacity` is 0
 * @param capacity bytes at `text`
 * @param len      bytes of the lines, also when the room is too small
 * @return 0; LLMGPU_E_RANGE; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_sensors_describe(llmgpu_sensors *sensors, char *text, size_t capacity, size_t *len);

/* ---- pacing ------------------------------------------------------------------------------------------------------ */

/** By which law pauses are found. */
enum llmgpu_pace {
    LLMGPU_PACE_CONTROL = 0, /**< a controller of the share of time in which there is work; default */
    LLMGPU_PACE_OFF = 1,     /**< no pauses */
    LLMGPU_PACE_RAMP = 2,    /**< 1 ms when cool, up to 30 ms near the target and 50 ms at critical, after each slice */
    LLMGPU_PACE_HOST = 3,    /**< what llmgpu_pacer_params::host answers */
};

/** What a pacer holds a device to. */
typedef struct llmgpu_pace_goal {
    double target;   /**< degrees Celsius that are not to be passed */
    double critical; /**< degrees Celsius above `target`, at which pauses are as long as they get */
    double power;    /**< watts on the average of some seconds; 0: any */
} llmgpu_pace_goal;

/**
 * A law of the host's own.
 *
 * @param user    as given
 * @param reading what is known now; measures that are too old are unknown
 * @param goal    what is to be held
 * @param now_us  the time, as llmgpu_pacer_observe() was told it
 * @return microseconds of pause after each slice from now on, at most 10000000
 */
typedef uint32_t (*llmgpu_pace_fn)(void *user, const llmgpu_reading *reading, const llmgpu_pace_goal *goal,
                                   uint64_t now_us);

/**
 * A schedule of the host's, asked for the goal at each observation: a lower target by night, a budget by day.
 *
 * @param user   as given
 * @param now_us the time, as llmgpu_pacer_observe() was told it
 * @param goal   what holds without it; to be changed in place. What cannot be (a target outside 20 .. 120) is not taken
 */
typedef void (*llmgpu_schedule_fn)(void *user, uint64_t now_us, llmgpu_pace_goal *goal);

/** Parameters of llmgpu_pacer_create(). All is copied. */
typedef struct llmgpu_pacer_params {
    uint32_t size;       /**< set by llmgpu_pacer_params_init() */
    int32_t policy;      /**< an llmgpu_pace; default LLMGPU_PACE_CONTROL */
    float target;        /**< degrees Celsius, 20 .. 120; 0: 3 below the device's own limit, or 75 where that is not known;
                              default 75. LLMGPU_PACE_CONTROL takes 3 below that limit for one that is not below it */
    float critical;      /**< degrees Celsius above the target, up to 135; 0 (default): the device's own limit, but 5 to 15
                              above the target; 10 above it where the limit is not known */
    float power;         /**< watts on the average, 0 (default): any */
    float quiet;         /**< on battery, the share of the power limit that becomes the budget, or of the time where power is
                              not known: above 0 .. 1, default 0.5; 1: as when plugged in */
    float stale;         /**< seconds after which a measure is unknown, 0.1 .. 3600, default 5 */
    float hold;          /**< seconds for which the pace stays when the temperature is lost, 0 .. 3600, default 30. If it was
                              hot by then, as many seconds later it is half of that, and stays so */
    float blind;         /**< share of the time with work while nothing is known, 0.01 .. 1; default 1: no pauses */
    llmgpu_pace_fn host; /**< the law of LLMGPU_PACE_HOST; NULL (default): none. Called within llmgpu_pacer_observe() */
    void *host_user;     /**< passed to `host` */
    llmgpu_schedule_fn schedule; /**< NULL (default): none. Called within llmgpu_pacer_observe() */
    void *schedule_user; /**< passed to `schedule` */
} llmgpu_pacer_params;

/**
 * Decides how long to pause. It has no thread, device or clock of its own.
 *
 * @par Thread-safety: safe; callbacks are called while other calls on it wait, and must not call on it
 */
typedef struct llmgpu_pacer llmgpu_pacer;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_pacer_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_pacer_params_init(llmgpu_pacer_params *params, size_t size);

/**
 * Makes a pacer. It knows nothing yet, and so paces blind.
 *
 * @param out    to be freed with llmgpu_pacer_free(); NULL on failure
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_NOMEM
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_pacer_create(llmgpu_pacer **out, const llmgpu_pacer_params *params);

/**
 * Frees a pacer.
 *
 * @param pacer NULL is allowed
 * @par Thread-safety: nothing else may use the handle
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_pacer_free(llmgpu_pacer *pacer);

/**
 * Tells what the sensors say: every 100 to 1000 ms while there is work. A time before that of the last call is taken as that.
 *
 * @param pacer   which is told
 * @param reading copied; NULL: nothing is known now. Numbers that cannot be are unknown: temperatures outside -40 .. 150,
 *                power outside 0 .. 5000, what is no number
 * @param size    sizeof(llmgpu_reading)
 * @param now_us  microseconds since any moment
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_pacer_observe(llmgpu_pacer *pacer, const llmgpu_reading *reading, size_t size,
                                                 uint64_t now_us);

/**
 * Answers how long to pause after a slice of work, and counts it as if that is done. It is cheap: nothing is read.
 *
 * @param pacer     which is asked
 * @param now_us    the time, of the same clock
 * @param worked_us microseconds that the slice took; several slices may be told as one
 * @return microseconds to leave the device alone, 0 .. 10000000; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_pacer_pause(llmgpu_pacer *pacer, uint64_t now_us, uint64_t worked_us);

/** State and counters of a pacer. */
typedef struct llmgpu_pacer_stats {
    uint64_t observations;  /**< calls of llmgpu_pacer_observe() */
    uint64_t pauses;        /**< pauses of more than 0 that it answered */
    uint64_t pause_us;      /**< their sum */
    uint64_t worked_us;     /**< microseconds of work that it was told */
    uint64_t above_us;      /**< microseconds in which the temperature was above the target */
    uint64_t over_us;       /**< microseconds in which the average power was more than 2% above the budget */
    uint64_t blind_us;      /**< microseconds in which nothing was known that it could pace by */
    double joules;          /**< that the device took, as far as its power was known */
    uint64_t joules_us;     /**< microseconds in which it was */
    double duty;            /**< share of the time with work that is aimed at, 0 .. 1; of pauses that do not depend on the
                                 length of slices, what became of the last one */
    double time_constant;   /**< seconds in which the device's own heat comes and goes, as learned; 0: not yet */
    double degrees_per_duty; /**< degrees Celsius by which work without pauses is hotter than none, as learned; 0: not yet */
    llmgpu_pace_goal goal;  /**< what is held now */
    int32_t policy;         /**< an llmgpu_pace */
    uint32_t blind;         /**< 1: nothing is known now that it could pace by */
    llmgpu_reading reading; /**< what is known, with ages as of the last call */
} llmgpu_pacer_stats;

/**
 * Reads them.
 *
 * @param pacer to read
 * @param out   to fill
 * @param size  sizeof(llmgpu_pacer_stats)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_pacer_get_stats(llmgpu_pacer *pacer, llmgpu_pacer_stats *out, size_t size);

/**
 * Says in a line what it does and by which measures, such as "control: 71 C of 75 C, 58 W; works 83% of the time".
 *
 * @param pacer    which is asked
 * @param text     receives the line, and a NUL behind it where there is room; may be NULL when `capacity` is 0
 * @param capacity bytes at `text`
 * @param len      bytes of the line, also when the room is too small
 * @return 0; LLMGPU_E_RANGE; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_pacer_status(llmgpu_pacer *pacer, char *text, size_t capacity, size_t *len);

#ifdef __cplusplus
}
#endif

#endif

#endif
