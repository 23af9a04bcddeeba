# SPDX-License-Identifier: MIT
"""llmgpu pacer: sensors of made-up trees, what a policy would do, and simulations."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

from command import PROGRAM, CommandTest

CARD = "sys/bus/pci/devices/0000:03:00.0"
MEASURES = {
    "temperature_c", "hotspot_c", "memory_temperature_c", "temperature_limit_c", "temperature_critical_c", "power_w",
    "power_limit_w", "clock_mhz", "clock_max_mhz", "throttle", "busy", "memory_used_bytes", "memory_total_bytes", "energy_j",
    "on_battery",
}
RUN = {
    "policy", "tokens", "tokens_per_second", "mean_c", "max_c", "settled_max_c", "swing_c", "above_target_s", "slowed_s",
    "joules_per_token", "mean_w", "settled_max_w", "pauses", "pause_s",
}


class Pacer(CommandTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name

    def put(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{text}\n")

    def card(self, celsius, watts):
        """A card of amdgpu in the tree."""
        uevent = "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0"
        self.put("sys/class/drm/card0/device/uevent", uevent)
        self.put(f"{CARD}/uevent", uevent)
        self.put(f"{CARD}/hwmon/hwmon3/name", "amdgpu")
        self.put(f"{CARD}/hwmon/hwmon3/temp1_label", "edge")
        self.put(f"{CARD}/hwmon/hwmon3/temp1_input", celsius * 1000)
        self.put(f"{CARD}/hwmon/hwmon3/power1_average", watts * 1000000)

    def read(self, *args):
        return self.json("pacer", "--sysfs", self.root, *args)

    def test_nothing(self):
        """An empty tree: all is unknown, and nothing is made up."""
        found = self.read()
        self.assertEqual(set(found), MEASURES | {"sensors", "status", "pause_us"})
        self.assertEqual({found[name] for name in MEASURES}, {None})
        self.assertEqual(found["pause_us"], 0)
        self.assertIn("paces blind; no pauses", found["status"])
        text = self.good("pacer", "--sysfs", self.root)
        self.assertEqual(text.count("unknown\n"), len(MEASURES))

    def test_figures(self):
        """The figures of the first law."""
        for celsius, watts, pause in ((45, 28, 1000), (73, 28, 30000), (85, 28, 50000), (99, 28, 50000)):
            self.card(celsius, watts)
            found = self.read("--policy", "ramp", "--target", "75C")
            self.assertEqual(found["temperature_c"]["value"], celsius)
            self.assertEqual(found["temperature_c"]["source"], "amdgpu")
            self.assertLess(found["temperature_c"]["age_s"], 5)
            self.assertEqual(found["power_w"]["value"], watts)
            self.assertIsNone(found["clock_mhz"])
            self.assertEqual(found["pause_us"], pause, found["status"])
            self.assertEqual(self.read("--policy", "off")["pause_us"], 0)
        self.assertIn("99 C of 75 C, 28 W", self.read()["status"])

    def test_text(self):
        self.card(61, 28)
        text = self.good("pacer", "--sysfs", self.root)
        self.assertRegex(text, r"(?m)^temperature +61\.0 C  \(amdgpu, \d+\.\d s ago\)$")
        self.assertRegex(text, r"(?m)^clock +unknown$")
        self.assertRegex(text, r"(?m)^control: 61 C of 75 C, 28 W; no pauses$")

    def test_watch(self):
        self.card(61, 28)
        running = subprocess.Popen([PROGRAM, "pacer", "--sysfs", self.root, "--watch", "--json"], stdout=subprocess.PIPE)
        first = json.loads(running.stdout.readline())
        self.card(74, 28)
        deadline = time.monotonic() + 30
        while json.loads(running.stdout.readline())["temperature_c"]["value"] != 74:
            self.assertLess(time.monotonic(), deadline)
        running.send_signal(signal.SIGINT)
        rest = running.communicate(timeout=30)[0]
        self.assertEqual((running.returncode, first["temperature_c"]["value"]), (130, 61))
        self.assertTrue(all(json.loads(line) for line in rest.splitlines()))

    def simulate(self, hours, *args):
        found = self.json("pacer", "--simulate", hours, *args)
        self.assertEqual(set(found), {"plant", "hours", "target_c", "limit_c", "power_w", "runs"})
        for run in found["runs"]:
            self.assertEqual(set(run), RUN)
        return found, {run["policy"]: run for run in found["runs"]}

    def test_simulate(self):
        found, runs = self.simulate(2, "--plant", "server")
        self.assertEqual((found["plant"], found["hours"], found["target_c"], found["limit_c"]), ("server", 2, 88, 89))
        self.assertEqual(list(runs), ["off", "ramp", "control"])
        self.assertEqual((runs["off"]["pauses"], runs["off"]["pause_s"]), (0, 0))
        self.assertGreater(runs["off"]["slowed_s"], 600)
        self.assertEqual((runs["control"]["slowed_s"], runs["ramp"]["slowed_s"]), (0, 0))
        self.assertLessEqual(runs["control"]["settled_max_c"], 89)
        self.assertLess(runs["control"]["swing_c"], 1)
        self.assertGreater(runs["control"]["tokens"], 1.05 * runs["off"]["tokens"])
        self.assertGreater(runs["control"]["tokens"], 1.05 * runs["ramp"]["tokens"])
        again, _ = self.simulate(2, "--plant", "server", "--policy", "control")
        self.assertEqual(again["runs"], [runs["control"]]) # the same to the last bit

    def test_targets(self):
        """Any target is held, also from cold and after breaks, and one that the device does not let be is lowered."""
        for plant, targets in (("laptop", (50, 65, 75)), ("desktop", (65, 80)), ("server", (60, 80))):
            for target in targets:
                _, runs = self.simulate(9, "--plant", plant, "--policy", "control", "--target", f"{target}C")
                run = runs["control"]
                self.assertLessEqual(run["max_c"], target + 1, (plant, target))
                self.assertLess(run["swing_c"], 1)
                self.assertLess(abs(run["mean_c"] - target), 1.5)
        args = ("--simulate", 5, "--plant", "laptop", "--policy", "control", "--target", "90C")
        self.assertIn("target 90 C, slows down at 87 C, so control holds 84 C", self.good("pacer", *args))
        run = self.simulate(*args[1:])[1]["control"]
        self.assertLessEqual(run["max_c"], 85)
        self.assertEqual(run["slowed_s"], 0)

    def test_goals(self):
        found, runs = self.simulate(1, "--policy", "control", "--target", "70C", "--plant", "laptop")
        self.assertEqual(found["target_c"], 70)
        self.assertLess(abs(runs["control"]["mean_c"] - 69), 2)
        found, runs = self.simulate(1, "--policy", "control", "--power", "40W")
        self.assertEqual(found["power_w"], 40)
        self.assertLess(abs(runs["control"]["mean_w"] - 40), 0.5)
        self.assertLess(runs["control"]["settled_max_w"], 40.5)
        _, narrow = self.simulate(3, "--policy", "off", "--hysteresis", 3)
        _, wide = self.simulate(3, "--policy", "off", "--hysteresis", 15)
        self.assertGreater(narrow["off"]["tokens"], wide["off"]["tokens"])

    def test_svg(self):
        path = os.path.join(self.root, "day.svg")
        text = self.good("pacer", "--simulate", 1, "--svg", path)
        self.assertIn("control gives +", text)
        plot = xml.etree.ElementTree.parse(path).getroot()
        lines = plot.findall("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual(sorted({line.get("class") for line in lines}), ["control", "off", "ramp"])
        self.assertTrue(all(len(line.get("points").split()) > 100 for line in lines))
        result = self.llmgpu("pacer", "--simulate", 0.1, "--svg", os.path.join(self.root, "no/day.svg"))
        self.assertEqual((result.status, result.out), (1, b""))
        self.assertEqual(os.listdir(self.root), ["day.svg"])

    def test_usage(self):
        for args in (("--policy", "fast"), ("--target", "10C"), ("--target", "75F"), ("--target", ""), ("--power", "0W"),
                     ("--power", "60C"), ("--power", "nanW"), ("--simulate", "-1"), ("--simulate", "1", "--plant", "toaster"),
                     ("--svg", "x.svg"), ("--simulate", "1", "--watch"), ("--simulate", "1", "--sysfs", "/")):
            self.usage("pacer", *args)
        result = self.llmgpu("pacer", "--device", "vulkan:99")
        self.assertEqual((result.status, result.out), (1, b""))
        self.assertIn("there is no device 'vulkan:99'", result.err)


if __name__ == "__main__":
    unittest.main()
