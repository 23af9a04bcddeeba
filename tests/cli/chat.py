# SPDX-License-Identifier: MIT
"""llmgpu chat: lines from a pipe, and a terminal. LLMGPU_LINEEDIT is "1" where the build edits lines."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import termios
import time
import unittest

from command import MODEL, PROGRAM, SYSTEM, CommandTest, chatml

LINEEDIT = os.environ.get("LLMGPU_LINEEDIT") == "1"
LONG = ("-n", "-1", "--ctx", "4096", "--temp", "100", "--seed", "1")  # an answer that takes seconds


class ChatTest(CommandTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.state = {"XDG_STATE_HOME": os.path.join(self.folder, "state")}

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        return self.path(name)

    def chat(self, *lines, args=(), model=MODEL, system=SYSTEM):
        """Status, answers and messages of a conversation that gets `lines`."""
        text = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        result = self.llmgpu("chat", "-m", model, "--device", "cpu", *(("-s", system) if system else ()), *args,
                             stdin=text, env=self.state)
        return result.status, result.out.decode().splitlines(), result.err

    def answers(self, *lines, args=(), model=MODEL, system=SYSTEM):
        """The answers of a conversation in which nothing fails."""
        status, answers, messages = self.chat(*lines, args=args, model=model, system=system)
        self.assertEqual(status, 0, messages)
        return answers

    def failing(self, *lines, args=()):
        """The answers and messages of one in which something does."""
        status, answers, messages = self.chat(*lines, args=args)
        self.assertEqual(status, 1, messages)
        return answers, messages

    def continuation(self, *messages, system=SYSTEM):
        return self.run_json("-p", chatml(system, *messages))["text"]


class Turns(ChatTest):
    def test_answers_are_those_of_run(self):
        first = self.continuation("Who are you?")
        second = self.continuation("Who are you?", first, "What do you sell?")
        status, answers, messages = self.chat("Who are you?", "What do you sell?")
        self.assertEqual((status, answers, messages), (0, [first, second], ""))

    def test_without_a_system_message(self):
        self.assertEqual(self.answers("Who are you?", system=None), [self.continuation("Who are you?", system=None)])

    def test_the_last_line_needs_no_end(self):
        result = self.llmgpu("chat", "-m", MODEL, "--device", "cpu", stdin="Who are you?")
        self.assertEqual((result.status, result.out.decode().count("\n")), (0, 1))

    def test_no_lines(self):
        self.assertEqual(self.answers(), [])
        self.assertEqual(self.answers("", "  ", "\t"), [])

    def test_a_slash_is_written_with_two(self):
        self.answers("//who are you?", f"/save {self.path('talk')}")
        with open(self.path("talk"), encoding="utf-8") as file:
            self.assertIn('"/who are you?"', file.read())

    def test_an_answer_that_is_cut(self):
        status, answers, messages = self.chat("Who are you?", args=("-n", "3"))
        self.assertEqual((status, len(answers)), (0, 1))
        self.assertTrue(self.continuation("Who are you?").startswith(answers[0]))
        self.assertEqual(messages, "llmgpu: the answer is cut after 3 tokens\n")

    def test_an_answer_that_ends_at_the_limit_is_not_cut(self):
        n = len(self.run_json("-p", chatml(SYSTEM, "Who are you?"))["tokens"])
        self.assertEqual(self.chat("Who are you?", args=("-n", n))[2], "")

    def test_cutting_the_work_changes_nothing(self):
        drawn = ("--temp", "1.5", "--seed", "5")
        expected = self.answers("Who are you?", "What do you sell?", args=drawn)
        for args in (("--batch", "7"), ("--tokens-per-submit", "8"), ("--threads", "1")):
            self.assertEqual(self.answers("Who are you?", "What do you sell?", args=(*drawn, *args)), expected, args)

    def test_lines_that_are_no_text(self):
        answers, messages = self.failing(b"Who \xff?", b"Who\0?", "Who are you?")
        self.assertEqual(answers, [self.continuation("Who are you?")])
        self.assertEqual([line.rsplit(" ", 1)[1] for line in messages.splitlines()], ["(LLMGPU_E_INVALID)"] * 2)

    def test_check(self):
        self.assertEqual(self.answers("Who are you?", args=("--check",)), [self.continuation("Who are you?")])


class Commands(ChatTest):
    def test_help_lists_all(self):
        status, answers, messages = self.chat("/help")
        self.assertEqual((status, answers), (0, []))
        self.assertEqual(re.findall(r"(?m)^  /(\w+) ", messages),
                         ["help", "system", "reset", "undo", "regen", "save", "load", "stats", "quit"])
        self.assertLessEqual(max(map(len, messages.splitlines())), 110)

    def test_unknown(self):
        answers, messages = self.failing("/sats", "Who are you?", "/" + "x" * 500, "/")
        self.assertEqual(len(answers), 1)
        self.assertIn("no command '/sats'; the nearest is '/stats'", messages)
        self.assertEqual(messages.count("no command"), 3)

    def test_arguments(self):
        for line, message in (("/save", "needs a FILE"), ("/load  ", "needs a FILE"), ("/quit now", "takes nothing")):
            self.assertIn(message, self.failing(line)[1])

    def test_quit(self):
        self.assertEqual(len(self.answers("Who are you?", "/quit ", "What do you sell?")), 1)

    def test_system(self):
        other = "Your name is Odo. You are the miller of Oakford. You are cheerful."
        status, answers, messages = self.chat("Who are you?", "/system  " + other + " ", "Who are you?", "/system")
        self.assertEqual(status, 0, messages)
        self.assertEqual(answers, [self.continuation("Who are you?"), self.continuation("Who are you?", system=other)])
        self.assertEqual(messages, f"llmgpu: {other}\n")
        self.assertEqual(self.chat("/system", system=None)[2], "llmgpu: there is no system message\n")

    def test_reset(self):
        first, _, again = self.answers("Who are you?", "What do you sell?", "/reset", "Who are you?")
        self.assertEqual(first, again)
        self.assertEqual(self.answers("/reset", "/reset"), [])

    def test_undo(self):
        _, second, _, again = self.answers("Who are you?", "What do you sell?", "/undo", "/undo", "Who are you?",
                                           "What do you sell?")
        self.assertEqual(second, again)
        self.assertIn("no answer yet", self.failing("/undo")[1])
        self.assertIn("no answer yet", self.failing("Who are you?", "/undo", "/undo")[1])

    def test_undo_gives_tokens_back(self):
        tokens = lambda *lines: re.findall(r"context +(\d+) of 512 tokens", self.chat(*lines, "/stats")[2])
        self.assertEqual(tokens("Who are you?", "What do you sell?", "/undo"), tokens("Who are you?", "Hello.", "/undo"))
        self.assertEqual(tokens("Who are you?", "/undo"), ["0"])

    def test_regen(self):
        drawn = lambda seed: self.answers("Who are you?", args=("--temp", "1.2", "--seed", seed))[0]
        answers = self.answers("Who are you?", "/regen", "/regen", args=("--temp", "1.2", "--seed", "1"))
        self.assertEqual(answers, [drawn(1), drawn(2), drawn(3)])
        self.assertGreater(len(set(answers)), 1)

    def test_regen_of_the_most_probable_answer(self):
        status, answers, messages = self.chat("Who are you?", "/regen", "/regen", "/regen")
        self.assertEqual(status, 0)
        self.assertEqual(messages.count("temperature of 0.8"), 1)
        self.assertGreater(len(set(answers)), 1)
        self.assertIn("no answer yet", self.failing("/regen")[1])

    def test_regen_is_what_the_conversation_goes_on_from(self):
        _, again, next_one = self.answers("Who are you?", "/regen", "What do you sell?")
        self.assertEqual(next_one, self.continuation("Who are you?", again, "What do you sell?"))

    def test_stats(self):
        status, _, messages = self.chat("Who are you?", "/stats")
        self.assertEqual(status, 0)
        stats = dict(re.findall(r"(?m)^(\w+) +(.*)$", messages))
        self.assertEqual(list(stats), ["messages", "context", "prompts", "answers", "memory", "device"])
        self.assertEqual(stats["messages"], "3")
        whole = self.run_json("-p", chatml(SYSTEM, "Who are you?"))
        prompt, answer = len(whole["prompt_tokens"]), len(whole["tokens"])
        self.assertRegex(stats["context"], rf"^{prompt + answer} of 512 tokens \(\d+%\), {prompt + answer - 1} computed$")
        self.assertRegex(stats["prompts"], rf"^{prompt} tokens, [\d.]+ tokens/s$")
        self.assertRegex(stats["answers"], rf"^{answer} tokens, [\d.]+ tokens/s$")
        self.assertRegex(stats["memory"], r"^[\d.]+ MB of the device, [\d.]+ MB at most$")
        self.assertTrue(stats["device"].startswith("cpu "))


class Files(ChatTest):
    def setUp(self):
        super().setUp()
        self.saved = self.path("talk.jsonl")
        self.whole = self.answers("Who are you?", "What do you sell?", f"/save {self.saved}", "How much is it?")

    def load(self, *lines, path=None):
        status, answers, messages = self.chat(f"/load {path or self.saved}", *lines, system=None)
        self.assertEqual(status, 0, messages)
        return answers, messages

    def test_what_is_written(self):
        with open(self.saved, encoding="utf-8") as file:
            messages = [json.loads(line) for line in file]
        self.assertEqual(messages, [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": self.whole[0]},
            {"role": "user", "content": "What do you sell?"},
            {"role": "assistant", "content": self.whole[1]},
        ])
        self.assertEqual(sorted(os.listdir(self.folder)), ["talk.jsonl", "talk.jsonl.state"])

    def test_goes_on_at_once(self):
        answers, messages = self.load("How much is it?")
        self.assertEqual(answers, self.whole[2:])
        n, computed = map(int, re.search(r"loaded 5 messages, (\d+) tokens of which (\d+) are computed", messages).groups())
        self.assertGreater(n, 60)
        self.assertLessEqual(n - computed, 2)

    def test_goes_on_without_the_state(self):
        os.unlink(self.saved + ".state")
        answers, messages = self.load("How much is it?")
        self.assertEqual(answers, self.whole[2:])
        self.assertIn("talk.jsonl.state", messages)
        self.assertIn("tokens of which 0 are computed", messages)

    def test_a_state_that_cannot_be_used(self):
        with open(self.saved + ".state", "rb") as file:
            state = file.read()
        for bad in (b"", b"{}", state[:100], state[:-1], state[:200] + bytes([state[200] ^ 1]) + state[201:]):
            self.file("talk.jsonl.state", bad)
            answers, messages = self.load("How much is it?")
            self.assertEqual(answers, self.whole[2:])
            self.assertIn("is computed again", messages)
            self.assertIn("tokens of which 0 are computed", messages)

    def test_a_state_of_something_else(self):
        """Only what the messages have in common with it is used."""
        self.answers("What do you sell?", f"/save {self.path('other')}", system="Your name is Odo.")
        os.replace(self.path("other.state"), self.saved + ".state")
        answers, messages = self.load("How much is it?")
        self.assertEqual(answers, self.whole[2:])
        self.assertRegex(messages, r"loaded 5 messages, \d+ tokens of which [1-9]\d? are computed")

    def test_takes_the_place_of_a_conversation(self):
        answers = self.answers("Hello.", f"/load {self.saved}", "How much is it?", "/undo", "/undo", "What do you sell?")
        self.assertEqual(answers[1:], [self.whole[2], self.whole[1]])

    def test_saves_over(self):
        self.answers("Hello.", f"/save {self.saved}")
        self.assertIn("loaded 3 messages", self.load()[1])

    def test_other_spellings(self):
        """JSON as others write it: blanks, another order, escapes."""
        path = self.file("other.jsonl", '{ "content" : "\\u0057h\\u006F \\ud83d\\ude00\\/\\t\u00e9?\\r\\n" ,\t"role":"user"}\r\n'
                                        '{"role":"assistant","content":""}')
        self.chat(f"/load {path}", f"/save {self.path('again.jsonl')}")
        with open(self.path("again.jsonl"), encoding="utf-8") as file:
            self.assertEqual([json.loads(line) for line in file], [
                {"role": "user", "content": "Who \U0001f600/\t\u00e9?\r\n"}, {"role": "assistant", "content": ""}])

    def test_what_cannot_be_loaded(self):
        user = '{"role":"user","content":"Hi"}\n'
        answer = '{"role":"assistant","content":"Hi"}\n'
        cases = (
            ("", "is empty"),
            ("\n", "line 1: "),
            (user, "no answer"),
            (answer, "line 1: "),
            (user + user, "line 2: "),
            (user + answer + answer, "line 3: "),
            (user + answer + '{"role":"system","content":""}\n', "line 3: "),
            ('{"role":"tool","content":""}\n', "line 1: "),
            ('{"role":"user"}\n', "line 1: "),
            ('{"role":"user","role":"user","content":""}\n', "line 1: "),
            ('{"role":"user","content":"","more":""}\n', "line 1: "),
            ('{"role":"user","content":1}\n', "line 1: "),
            ('{"role":"user","content":"Hi"', "line 1: "),
            ('{"role":"user","content":"Hi}\n' + answer, "line 1: "),
            ('{"role":"user","content":"Hi"},\n' + answer, "follows"),
            ('["role"]\n', "line 1: "),
            ('{"role":"user","content":"\\u0000"}\n' + answer, "line 1: "),
            ('{"role":"user","content":"\\ud83d"}\n' + answer, "line 1: "),
            ('{"role":"user","content":"\\ude00"}\n' + answer, "line 1: "),
            ('{"role":"user","content":"\\u00g0"}\n' + answer, "line 1: "),
            ('{"role":"user","content":"\\x41"}\n' + answer, "line 1: "),
            ('{"role":"user","content":"a\tb"}\n' + answer, "line 1: "),
            ('{"role":"user","content":"a\0b"}\n' + answer, "line 1: "),
            ('{"role":"user","content":"\\', "line 1: "),
            ('{"role":"user","content":"\\u00', "line 1: "),
            ("x" * 100_000, "line 1: "),
        )
        expected = self.answers("Who are you?", "What do you sell?")
        lines = ["Who are you?"]
        for number, (text, _) in enumerate(cases):
            lines.append("/load " + self.file(f"bad{number}", text))
        lines += ["/load " + self.file("latin", b'{"role":"user","content":"\xff"}\n'), f"/load {self.folder}",
                  f"/load {self.path('none')}", "/load -"]
        answers, messages = self.failing(*lines, "What do you sell?")
        self.assertEqual(answers, expected)  # the conversation is as it was
        messages = messages.splitlines()
        self.assertEqual(len(messages), len(cases) + 4)
        for (text, word), message in zip(cases, messages):
            self.assertIn(word, message, text)
            self.assertTrue(message.endswith(" (LLMGPU_E_FORMAT)"), message)
        for code, message in zip(("INVALID", "IO", "IO", "IO"), messages[len(cases):]):
            self.assertTrue(message.endswith(f" (LLMGPU_E_{code})"), message)

    def test_more_than_the_context_holds(self):
        path = self.file("long.jsonl", json.dumps({"role": "user", "content": "word " * 600}) + "\n"
                         + json.dumps({"role": "assistant", "content": "Yes."}) + "\n")
        expected = self.answers("Who are you?", "What do you sell?")
        answers, messages = self.failing("Who are you?", f"/load {path}", "What do you sell?")
        self.assertEqual(answers, expected)
        self.assertIn("(LLMGPU_E_CONTEXT_FULL)", messages)

    def test_what_cannot_be_saved(self):
        for path in (self.path("none/talk"), self.folder, "/dev/null", "x" * 5000):
            answers, messages = self.failing("Who are you?", f"/save {path}")
            self.assertIn("(LLMGPU_E_IO)", messages)
        self.assertIn("no answer yet", self.failing(f"/save {self.path('empty')}")[1])
        self.assertFalse(os.path.exists(self.path("empty")))
        self.assertTrue(os.path.exists("/dev/null") and not os.path.isfile("/dev/null"))


class Templates(ChatTest):
    def setUp(self):
        super().setUp()
        with open(MODEL, "rb") as file:
            data = file.read()
        self.bare = self.file("bare.gguf", data.replace(b"tokenizer.chat_template", b"tokenizer.chat_templatx"))

    def test_fall_back(self):
        """The format of the bundled model is the fall-back's."""
        lines = ("Who are you?", "What do you sell?", "/reset", "Who are you?")
        status, answers, messages = self.chat(*lines, model=self.bare)
        self.assertEqual((status, answers), (0, self.answers(*lines)))
        self.assertEqual(len(messages.splitlines()), 1)
        self.assertIn("no chat template", messages)
        self.assertIn("ChatML", messages)

    def test_falls_back_again_after_a_reset(self):
        self.assertEqual(len(set(self.answers(*["Who are you?", "/reset"] * 20, model=self.bare))), 1)

    def test_template_of_ones_own(self):
        template = self.file("template", "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
                                         "{% endfor %}<|im_start|>assistant{{ '\n' }}")
        self.assertEqual(self.answers("Who are you?", args=("--template", template), model=self.bare),
                         self.answers("Who are you?"))
        template = self.file("template", "Once upon a time")
        self.assertEqual(self.answers("Who are you?", args=("--template", template, "-n", "20")),
                         self.run_json("-p", "Once upon a time", "-n", "20")["text"].splitlines())

    def test_template_that_cannot_be_used(self):
        for text in ("{% for %}", "{{ raise_exception('not like this') }}", "{{ messages"):
            template = self.file("template", text)
            message = self.fails("LLMGPU_E_TEMPLATE", "chat", "-m", MODEL, "--template", template, "--device", "cpu",
                                 stdin="Who are you?\n")
            if "raise" in text:
                self.assertIn("not like this", message)
        self.fails("LLMGPU_E_IO", "chat", "-m", MODEL, "--template", self.path("none"))

    def test_template_that_refuses_some(self):
        """The turn fails, and the conversation is as it was."""
        template = self.file("template", "{% for m in messages %}{% if 'bad' in m.content %}{{ raise_exception('no') }}{% endif %}"
                                         "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                                         "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
        answers, messages = self.failing("Who are you?", "A bad question.", "What do you sell?",
                                         args=("--template", template))
        self.assertEqual(answers, self.answers("Who are you?", "What do you sell?"))
        self.assertIn("(LLMGPU_E_TEMPLATE)", messages)


class Limits(ChatTest):
    def test_a_question_that_does_not_fit(self):
        answers, messages = self.failing("Who are you?", "word " * 600, "What do you sell?")
        self.assertEqual(answers, self.answers("Who are you?", "What do you sell?"))
        self.assertIn("(LLMGPU_E_CONTEXT_FULL)", messages)
        self.assertIn("/reset", messages)

    def test_an_answer_that_does_not_fit(self):
        whole = self.run_json("-p", chatml(SYSTEM, "Who are you?"))
        n = len(whole["prompt_tokens"]) + len(whole["tokens"]) // 2
        status, answers, messages = self.chat("Who are you?", "What do you sell?", "/reset", "Who are you?", args=("-c", n))
        self.assertEqual(status, 1)
        self.assertEqual(len(answers), 2)
        self.assertEqual(answers[0], answers[1])
        self.assertTrue(whole["text"].startswith(answers[0]))
        self.assertEqual(messages.count(f"the context of {n} tokens is full; /undo"), 2)

    def test_goes_on_until_it_is_full(self):
        """Turn by turn; then every question is refused, and /reset makes room."""
        lines = ["Tell me more."] * 40
        answers, messages = self.failing(*lines, "/reset", "Who are you?", args=("--ctx", "128"))
        self.assertIn("(LLMGPU_E_CONTEXT_FULL)", messages)
        self.assertGreater(len(answers), 2)
        self.assertLess(len(answers), 30)
        self.assertEqual(answers[-1], self.continuation("Who are you?"))

    def test_full_disk_is_a_failure(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "chat", "-m", MODEL, "--device", "cpu"], input=b"Hi\nHi\n", stdout=full,
                                  stderr=subprocess.PIPE, timeout=240)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertIn(b"(LLMGPU_E_IO)", done.stderr)

    def test_interrupt_ends_what_comes_from_a_pipe(self):
        child = subprocess.Popen([PROGRAM, "chat", "-m", MODEL, "--device", "cpu", *LONG], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdin.write(b"Hello.\nHello.\n")
        child.stdin.flush()
        os.read(child.stdout.fileno(), 1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=240)
        self.assertEqual((child.returncode, err), (130, b"llmgpu: interrupted\n"))
        self.assertTrue(out.endswith(b"\n"))


class Terminal:
    """The command at a terminal of its own, which shows what both outputs say."""

    def __init__(self, *args, env):
        self.shown = ""
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.environ.update(env, TERM="vt100", LC_ALL="C")
            os.execv(PROGRAM, [PROGRAM, "chat", "-m", MODEL, "--device", "cpu", *args])

    def canonical(self):
        """Whether the terminal collects lines by itself, as it does for programs that do not edit them."""
        return bool(termios.tcgetattr(self.fd)[3] & termios.ICANON)

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self):
        """Shows more. Whether there is anybody at the other end."""
        if not select.select([self.fd], [], [], 60)[0]:
            raise AssertionError(f"nothing comes behind {self.shown[-1000:]!r}")
        try:
            data = os.read(self.fd, 4096)
        except OSError:  # what Linux answers when the last one has closed it
            data = b""
        self.shown += data.decode("utf-8", "replace")
        return bool(data)

    def wait(self, pattern, after=0):
        """Waits until what is shown has `pattern` somewhere behind `after`; where that ends."""
        while not (match := re.compile(pattern).search(self.shown, after)):
            if not self.read():
                raise AssertionError(f"it ended without {pattern!r} in {self.shown[after:]!r}")
        return match.end()

    def prompted(self, before="", after=0):
        """Waits for a prompt behind `before`, and until what is typed goes to the program."""
        at = self.wait(before + r"\r\n> ", after)
        while LINEEDIT and self.canonical():
            time.sleep(0.001)
        return at

    def end(self):
        """The exit status, negative for a signal."""
        while self.read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


class TerminalTest(ChatTest):
    def terminal(self, *args, system=SYSTEM):
        terminal = Terminal(*(("-s", system) if system else ()), *args, env=self.state)
        self.at = terminal.prompted()
        return terminal

    def ask(self, terminal, text, answer):
        terminal.type(text + "\n")
        self.at = terminal.prompted(re.escape(answer), self.at)


class Interactive(TerminalTest):
    def test_a_conversation(self):
        terminal = self.terminal()
        self.assertRegex(terminal.shown, r"^llmgpu: Tavern 3.7M on cpu .*; /help lists the commands\r\n> $")
        first = self.continuation("Who are you?")
        self.ask(terminal, "Who are you?", first)
        self.ask(terminal, "What do you sell?", self.continuation("Who are you?", first, "What do you sell?"))
        terminal.type("/sats\n")
        self.at = terminal.prompted(r"the nearest is '/stats'.*", self.at)
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0)  # what failed was seen
        self.assertTrue(terminal.shown.endswith("\r\n"))

    def test_quit(self):
        terminal = self.terminal()
        terminal.type("/quit\n")
        self.assertEqual(terminal.end(), 0)

    def test_interrupt_at_the_prompt_leaves(self):
        for typed in ("", "half a li"):
            terminal = self.terminal()
            terminal.type(typed)
            terminal.wait(typed, self.at)
            terminal.type("\x03")
            self.assertEqual(terminal.end(), 130, terminal.shown)

    def test_interrupt_stops_the_answer(self):
        terminal = self.terminal(*LONG)
        for turn in (1, 2):
            terminal.type("Hello.\n")
            self.at = terminal.wait(r"Hello\.\r\n", self.at)
            self.at = terminal.wait(r"\S", self.at)
            terminal.type("\x03")
            self.at = terminal.prompted("llmgpu: interrupted", self.at)
            terminal.type("/stats\n")
            self.at = terminal.prompted(rf"messages +{1 + 2 * turn}\r\n[^>]*", self.at)
        terminal.type("\x03")
        self.assertEqual(terminal.end(), 130, terminal.shown)

    def test_interrupt_before_the_answer(self):
        """With a prompt that takes long. What was asked is taken back, and an answer to be drawn again stays."""
        messages = [{"role": "user", "content": "a " * 16_000}, {"role": "assistant", "content": "No."}]
        path = self.file("long.jsonl", "".join(json.dumps(message) + "\n" for message in messages))
        terminal = self.terminal("--ctx", "20000", "--batch", "1", "--threads", "1", system=None)
        terminal.type(f"/load {path}\n")
        self.at = terminal.prompted(r"loaded 2 messages, \d+ tokens of which 0 are computed", self.at)
        for typed in ("Why?", "/regen"):
            terminal.type(typed + "\n")
            self.at = terminal.wait(re.escape(typed) + r"\r\n", self.at)
            time.sleep(0.3) # the line is shown before it is read: now the prompt is under way
            terminal.type("\x03")
            self.at = terminal.prompted("interrupted; the question is taken back", self.at)
        terminal.type(f"/save {self.path('again.jsonl')}\n")
        self.at = terminal.prompted("saved 2 messages.*", self.at)
        with open(self.path("again.jsonl"), encoding="utf-8") as file:
            self.assertEqual([json.loads(line) for line in file], messages)
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0)

    def test_rubbing_out(self):
        terminal = self.terminal()
        self.ask(terminal, "Who am I\x7f\x7f\x7fre you?", self.continuation("Who are you?"))
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0)


@unittest.skipUnless(LINEEDIT, "lines are not edited in this build")
class Editing(TerminalTest):
    UP, LEFT, HOME = "\x1b[A", "\x1b[D", "\x01"

    def history(self):
        return os.path.join(self.folder, "state", "llmgpu", "chat_history")

    def leave(self, terminal):
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0, terminal.shown)

    def test_moving_about(self):
        terminal = self.terminal()
        self.ask(terminal, "o are yu?" + 2 * self.LEFT + "o" + self.HOME + "Wh", self.continuation("Who are you?"))
        self.leave(terminal)

    def test_characters_are_whole(self):
        """Also where the environment knows of no UTF-8."""
        terminal = self.terminal()
        self.ask(terminal, "Who are y\u00e9\u20ac\x7f\x7fou?", self.continuation("Who are you?"))
        self.leave(terminal)

    def test_history(self):
        expected = self.continuation("Who are you?")
        terminal = self.terminal()
        self.ask(terminal, "Who are you?", expected)
        terminal.type("/reset\n")
        self.at = terminal.prompted("/reset", self.at)
        self.ask(terminal, 2 * self.UP, expected)
        self.leave(terminal)
        self.assertEqual(os.stat(self.history()).st_mode & 0o777, 0o600)
        terminal = self.terminal()  # it is there again
        self.ask(terminal, self.UP, expected)
        self.leave(terminal)

    def test_no_history(self):
        terminal = self.terminal("--no-history")
        self.ask(terminal, "Who are you?", self.continuation("Who are you?"))
        self.leave(terminal)
        self.assertFalse(os.path.exists(self.history()))

    def test_a_history_that_cannot_be_kept(self):
        self.file("state", "")  # where the folder should be
        terminal = self.terminal()
        self.ask(terminal, "Who are you?", self.continuation("Who are you?"))
        self.leave(terminal)

    def test_the_terminal_is_left_as_it_was(self):
        terminal = self.terminal(*LONG)
        self.assertFalse(terminal.canonical())
        terminal.type("Hello.\n")
        terminal.wait(r"Hello\.\r\n\S", self.at)
        self.assertTrue(terminal.canonical())
        terminal.type("\x03")
        terminal.prompted("llmgpu: interrupted", self.at)
        held = os.dup(terminal.fd)
        terminal.type("\x03")
        self.assertEqual(terminal.end(), 130)
        self.assertTrue(termios.tcgetattr(held)[3] & termios.ICANON)
        os.close(held)


if __name__ == "__main__":
    unittest.main()
