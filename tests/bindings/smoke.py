# SPDX-License-Identifier: MIT
"""The Python module: smoke.py FOLDER MODEL, where FOLDER holds what was built; "" when nothing was."""
import os
import sys
import tempfile
import threading
import time
import unittest

if not sys.argv[1]:
    print("the Python module was not built")
    sys.exit(77)
sys.path.insert(0, sys.argv[1])
import llmgpu

MODEL = sys.argv[2]
PROMPT = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"


class Smoke(unittest.TestCase):
    def setUp(self):
        params = llmgpu.context_params_init()
        params.device = "cpu"
        self.ctx = llmgpu.context_create(params)
        self.addCleanup(llmgpu.context_free, self.ctx)
        self.model = llmgpu.model_load(self.ctx, MODEL, None)
        self.addCleanup(llmgpu.model_free, self.model)

    def session(self, **members):
        params = llmgpu.session_params_init()
        for name, value in members.items():
            setattr(params, name, value)
        session = llmgpu.session_create(self.model, params)
        self.addCleanup(llmgpu.session_free, session)
        return session

    def pull(self, session, function):
        """What a function of the form of session_next() gives until the answer is over."""
        while True:
            answer, item = function(session)
            if answer == llmgpu.DONE:
                return
            if answer == llmgpu.AGAIN:
                llmgpu.session_wait(session, 2**64 - 1)
            else:
                yield item

    def fails(self, code, function, *arguments):
        """The sentence with which a call fails."""
        with self.assertRaises(llmgpu.Error) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.code, code)
        return str(caught.exception)

    def test_streams(self):
        session = self.session()
        llmgpu.session_feed_text(session, PROMPT, llmgpu.TOKENIZE_PARSE_SPECIAL)
        pieces = list(self.pull(session, llmgpu.session_next_text))
        self.assertGreater(len(pieces), 3)
        llmgpu.session_reset(session)
        llmgpu.session_feed(session, llmgpu.tokenize(self.model, PROMPT, llmgpu.TOKENIZE_PARSE_SPECIAL))
        decoder = llmgpu.decoder_create(self.model, 0)
        self.addCleanup(llmgpu.decoder_free, decoder)
        text = "".join(llmgpu.decoder_push(decoder, token) for token in self.pull(session, llmgpu.session_next)
                       if not llmgpu.model_is_end(self.model, token))
        self.assertEqual(text + llmgpu.decoder_finish(decoder), "".join(pieces))
        stats = llmgpu.session_get_stats(session)
        self.assertGreaterEqual(stats.n_generated, len(pieces))
        self.assertEqual(len(llmgpu.session_get_tokens(session)), stats.n_tokens)

    def test_steps(self):
        session = self.session()
        llmgpu.session_feed_text(session, PROMPT, llmgpu.TOKENIZE_PARSE_SPECIAL)
        self.assertEqual(llmgpu.session_next(session)[0], llmgpu.AGAIN)
        while llmgpu.context_step(self.ctx, 2000):
            pass
        answer, token = llmgpu.session_next(session)
        self.assertEqual(answer, llmgpu.TOKEN)
        self.assertGreaterEqual(token, 0)

    def test_cancels_from_another_thread(self):
        session = self.session(ignore_end=1)
        started = threading.Event()

        def cancel():
            started.wait()
            time.sleep(0.05)
            llmgpu.session_cancel(session)

        thread = threading.Thread(target=cancel)
        thread.start()
        started.set()
        with self.assertRaises(llmgpu.Error) as caught:
            for _ in range(1000): # answers of 200 tokens, until the other thread has its say
                llmgpu.session_reset(session)
                llmgpu.session_feed_text(session, PROMPT, llmgpu.TOKENIZE_PARSE_SPECIAL)
                llmgpu.session_generate(session, 200, None, None)
        thread.join()
        self.assertEqual(caught.exception.code, llmgpu.E_CANCELLED)
        llmgpu.session_reset(session)
        llmgpu.session_feed_text(session, PROMPT, llmgpu.TOKENIZE_PARSE_SPECIAL)
        llmgpu.session_generate(session, 4, None, None)

    def test_errors(self):
        self.assertIn("/nowhere/model.gguf",
                      self.fails(llmgpu.E_IO, llmgpu.model_load, self.ctx, "/nowhere/model.gguf", None))
        self.assertIn("/nowhere/model.gguf", self.fails(llmgpu.E_IO, llmgpu.file_open, "/nowhere/model.gguf"))
        session = self.session(n_ctx=32)
        self.assertIn("32", self.fails(llmgpu.E_CONTEXT_FULL, llmgpu.session_feed, session, list(range(64))))
        params = llmgpu.session_params_init()
        params.n_batch = 0
        self.assertIn("batch", self.fails(llmgpu.E_INVALID, llmgpu.session_create, self.model, params))
        params = llmgpu.context_params_init()
        params.device = "abacus"
        self.assertIn("abacus", self.fails(llmgpu.E_NO_DEVICE, llmgpu.context_create, params))
        # A function without a handle that has a sentence tells the name of the code.
        self.assertEqual(self.fails(llmgpu.E_INVALID, llmgpu.detokenize, self.model, [10**6], 0), "LLMGPU_E_INVALID")

    def test_arguments(self):
        with self.assertRaises(TypeError):
            llmgpu.detokenize(self.model, ["a"], 0)
        with self.assertRaises(OverflowError):
            llmgpu.detokenize(self.model, [2**40], 0)
        with self.assertRaises(TypeError):
            llmgpu.session_create(self.ctx, None)

    def test_texts(self):
        text = "A blade for the road, 刀, and a NUL: \0."
        ids = llmgpu.tokenize(self.model, text, 0)
        self.assertEqual(llmgpu.detokenize(self.model, ids, 0), text)
        self.assertEqual(llmgpu.tokenize(self.model, "", 0), [])
        self.assertEqual(llmgpu.detokenize(self.model, [], 0), "")

    def test_facts(self):
        info = llmgpu.model_get_info(self.model)
        self.assertEqual((info.architecture, info.n_embd, info.n_layers), ("llama", 256, 4))
        self.assertEqual(llmgpu.context_get_device(self.ctx).id, "cpu")
        self.assertRegex(llmgpu.version(), r"^\d+\.\d+\.\d+$")
        self.assertEqual(llmgpu.status_name(llmgpu.E_IO), "LLMGPU_E_IO")
        devices = llmgpu.device_list_create()
        self.addCleanup(llmgpu.device_list_free, devices)
        self.assertEqual(llmgpu.device_list_get(devices, 0).id, "cpu")

    def test_files(self):
        file = llmgpu.file_open(MODEL)
        self.addCleanup(llmgpu.file_close, file)
        info = llmgpu.file_get_info(file)
        found = {}
        for i in range(info.n_metadata):
            entry = llmgpu.file_get_metadata(file, i)
            found[entry.key] = llmgpu.file_get_value(file, i, 0)
        self.assertEqual(found["general.architecture"].string, b"llama")
        self.assertEqual(found["llama.block_count"].integer, 4)
        self.assertIn("token_embd.weight", [llmgpu.file_get_tensor(file, i).name for i in range(info.n_tensors)])

    def test_state(self):
        session = self.session()
        llmgpu.session_feed_text(session, PROMPT, llmgpu.TOKENIZE_PARSE_SPECIAL)
        state = llmgpu.session_save(session, llmgpu.STATE_FULL, None)
        self.assertIsInstance(state, bytes)
        other = self.session()
        llmgpu.session_restore(other, state)
        self.assertEqual(llmgpu.session_get_tokens(other), llmgpu.session_get_tokens(session))
        self.fails(llmgpu.E_FORMAT, llmgpu.session_restore, other, state[:-1])

    def test_chat(self):
        chat = llmgpu.chat_create(self.model, None)
        self.addCleanup(llmgpu.chat_free, chat)
        llmgpu.chat_add(chat, "user", "Who are you?")
        self.assertEqual(llmgpu.chat_render(chat, llmgpu.CHAT_ANSWER | llmgpu.CHAT_FALLBACK), PROMPT)
        self.assertTrue(self.fails(llmgpu.E_FORMAT, llmgpu.chat_add_json, chat, "["))

    def test_numbers(self):
        session = self.session(n_candidates=5)
        ids = llmgpu.tokenize(self.model, "The smith sells blades.", 0)
        n = llmgpu.model_get_info(self.model).n_embd
        vector = llmgpu.new_floats(n)
        llmgpu.session_embed(session, ids, llmgpu.POOLING_MEAN, 1, vector)
        self.assertAlmostEqual(sum(llmgpu.floats_getitem(vector, i) ** 2 for i in range(n)), 1, places=4)
        llmgpu.delete_floats(vector)
        llmgpu.session_reset(session)
        llmgpu.session_feed(session, ids)
        token = next(self.pull(session, llmgpu.session_next))
        chosen, top = llmgpu.session_get_candidates(session)
        self.assertEqual((chosen.token, len(top)), (token, 5))
        self.assertEqual(top[0].token, token)
        self.assertLess(top[0].log_prob, 0)

    def test_training(self):
        with tempfile.TemporaryDirectory() as folder:
            lines, adapter, merged = (os.path.join(folder, name) for name in ("lines.jsonl", "adapter.gguf", "merged.gguf"))
            with open(lines, "w", encoding="utf-8") as file:
                file.write('{"text": "The moon hums."}\n' * 4)
            params = llmgpu.dataset_params_init()
            params.n_ctx = 16
            data = llmgpu.dataset_open(self.model, [lines], params)
            self.addCleanup(llmgpu.dataset_free, data)
            more, batch = llmgpu.dataset_next(data)
            self.assertTrue(more == 1 and batch.n_rows > 0)
            params = llmgpu.trainer_params_init()
            params.max_rows, params.rank, params.lr = 16, 2, 1e-2
            trainer = llmgpu.trainer_create(self.model, params)
            self.addCleanup(llmgpu.trainer_free, trainer)
            before = llmgpu.trainer_evaluate(trainer, batch)
            for step in range(3):
                llmgpu.trainer_add(trainer, batch)
                self.assertEqual(llmgpu.trainer_step(trainer).step, step)
            llmgpu.trainer_add(trainer, batch)
            llmgpu.trainer_start(trainer, 10)
            self.assertIn("started", self.fails(llmgpu.E_INVALID, llmgpu.trainer_step, trainer))
            while not llmgpu.trainer_poll(trainer)[0]:
                llmgpu.context_step(self.ctx, 2000)
            self.assertEqual(llmgpu.trainer_get_info(trainer).step, 4)
            self.assertLess(llmgpu.trainer_evaluate(trainer, batch), before)
            llmgpu.trainer_save_checkpoint(trainer, adapter, llmgpu.dataset_save(data))
            llmgpu.dataset_restore(data, llmgpu.trainer_load_checkpoint(trainer, adapter))
            llmgpu.trainer_save(trainer, adapter, llmgpu.SAVE_GGUF)
            with_it = llmgpu.merge_adapter()
            with_it.path, with_it.scale = adapter, 1
            llmgpu.merge(MODEL, with_it, 1, merged, None, None)
            llmgpu.model_free(llmgpu.model_load(self.ctx, merged, None))
            llmgpu.quantize(MODEL, merged, "F16", None)
            self.assertIn("Q4_99", self.fails(llmgpu.E_INVALID, llmgpu.quantize, MODEL, merged, "Q4_99", None))
            self.assertIn("nowhere", self.fails(llmgpu.E_IO, llmgpu.dataset_open, self.model, ["/nowhere"], None))
            with self.assertRaises(TypeError):
                llmgpu.dataset_open(self.model, [1], None)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
