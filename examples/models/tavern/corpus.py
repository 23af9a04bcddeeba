#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The text the bundled model learns from: a grammar of personas, dialogues and stories.

Writes into a folder train.txt, train_short.txt and val.txt (dialogues in ChatML and plain stories, each ended by
<|endoftext|>), val_plain.txt (stories only), pirate.jsonl and pirate_val.jsonl (another manner of speech, for adapters),
and eval_cases.json (questions with the fact that a right answer has to contain). Names and villages of the validation
files are never seen in training. The same seed gives the same bytes. All sentences were written for this project
(lines.py)."""
import argparse
import hashlib
import json
import os
import random
import re

import lines as T
from lines import L

IM_S, IM_E, EOT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def held(s):  # names that only the validation text may use
    return int(hashlib.md5(s.encode()).hexdigest(), 16) % 25 == 0


NAMES = sorted(set([a + b for a in T.NAME_A for b in T.NAME_B] + T.NAME_X))
VILLS = sorted(set(a + b for a in T.VILL_A for b in T.VILL_B if a.lower() != b))
NAMES_TR, NAMES_VA = [n for n in NAMES if not held(n)], [n for n in NAMES if held(n)]
VILLS_TR, VILLS_VA = [n for n in VILLS if not held(n)], [n for n in VILLS if held(n)]
ROLE_NAMES = list(T.ROLES)


def an(x):
    return ("an " if x[0] in "aeiou" else "a ") + x


def cap(s):
    return s[0].upper() + s[1:]


def join(xs, last=" and "):
    return xs[0] if len(xs) == 1 else ", ".join(xs[:-1]) + last + xs[-1]


class Gen:
    def __init__(self, seed, val=False):
        self.r = random.Random(seed)
        self.names, self.vills = (NAMES_VA, VILLS_VA) if val else (NAMES_TR, VILLS_TR)

    def c(self, xs):
        return xs[int(self.r.random() * len(xs))]

    def p(self, x):
        return self.r.random() < x

    def s(self, text):          # pick one alternative of a '|' string
        return self.c(L(text))

    def loc(self):
        if self.p(.25):
            return self.c(T.LOC_FIX)
        return self.c(T.LOC_PREP) + " " + self.c(T.LANDMARKS)

    def nonsense(self):
        return self.c(T.NONS_A) + (self.c(T.NONS_A) if self.p(.3) else "") + self.c(T.NONS_B)

    def rumour(self):
        return "%s %s %s%s" % (self.c(T.RUM_S), self.c(T.RUM_V), self.loc(),
                               " " + self.c(T.RUM_T) if self.p(.6) else "")

    def secret(self):
        who = "the " + self.c(ROLE_NAMES) if self.p(.6) else self.c(self.names)
        return who + " " + self.c(T.SEC_V)

    def quest(self):
        k = self.r.random()
        place = "the " + self.c(T.PLACES)
        if k < .35:
            return "bring %d %s from %s" % (self.r.randint(2, 20), self.c(T.Q_THINGS), place)
        if k < .6:
            return "chase the %s away from %s" % (self.c(T.Q_BEASTS), place)
        if k < .8:
            return "carry %s to %s the %s" % (self.c(T.Q_CARRY), self.c(self.names), self.c(ROLE_NAMES))
        return "find %s that was lost %s" % (self.c(T.Q_LOST), self.loc())

    # ------------------------------------------------------------ persona
    def persona(self, short=False):
        r = self.r
        P = dict(name=self.c(self.names), role=self.c(ROLE_NAMES), village=self.c(self.vills))
        if self.p(.1):
            P["role"] = self.c(T.FREE_ROLES)
        P["novill"] = self.p(.05)      # prompt without a village: the answers say "our village"
        if P["novill"]:
            P["village"] = "our village"
        R = role_of(P["role"])
        P["craft"] = R["craft"]
        P["mood"] = None if self.p(.12) else self.c(list(T.MOODS))
        P["moodw"] = self.c(T.MOODS[P["mood"]]["syn"]) if P["mood"] else None
        if P["mood"] and self.p(.5):
            P["moodw"] = P["mood"]
        P["cur"] = self.c(T.CURRENCY)
        P["stock"] = []
        if self.p(.7):
            pool = list(R["items"])
            if self.p(.25):      # sometimes unusual goods, so the list must be read
                pool = [i for q in ROLE_NAMES for i in T.ROLES[q]["items"]]
            P["stock"] = [(i, r.randint(2, 99) if self.p(.8) else r.randint(2, 20))
                          for i in r.sample(sorted(set(pool)), r.randint(1, 4))]
        P["places"] = []
        if self.p(.65):
            P["places"] = [(q, self.loc()) for q in r.sample(T.PLACES, r.randint(1, 3))]
        P["rumour"] = self.rumour() if self.p(.55) else None
        P["secret"] = self.secret() if self.p(.3) else None
        P["quest"] = P["reward"] = None
        if self.p(.45):
            P["quest"] = self.quest()
            P["reward"] = an_reward(self) if self.p(.4) else "%d %s" % (r.randint(2, 99), P["cur"])
        P["rel"] = (self.c(T.RELATIONS), self.c(self.names)) if self.p(.35) else None
        P["bond"] = (self.c(T.BONDS), self.c(self.names)) if self.p(.2) else None
        P["fear"] = self.c(T.FEARS) if self.p(.3) else None
        P["like"] = self.c(T.LIKES) if self.p(.3) else None
        P["age"] = r.randint(18, 90) if P["role"] != "child" else r.randint(5, 12)
        if not self.p(.25):
            P["age"] = None
        P["weather"] = self.c(T.WEATHER) if self.p(.25) else None
        P["origin"] = self.c(self.vills) if self.p(.2) else None
        P["folk"] = [(self.c(self.names), q) for q in r.sample(ROLE_NAMES, r.randint(1, 2))] if self.p(.35) else []
        P["folk"] = [(n, q) for n, q in P["folk"] if q != P["role"]]
        P["player"] = None
        if self.p(.22):
            P["player"] = (self.c(self.names), self.c(T.PLAYER_KINDS))
        P["len"] = self.c(["n"] * 7 + ["short", "long", "n"])
        if short:                      # few facts, so that copying is easy to learn
            have = [k for k in ("stock", "places", "rumour", "quest", "rel", "bond", "fear", "like", "age", "weather", "origin", "folk", "secret", "player") if P[k]]
            keep = r.sample(have, min(len(have), self.c([0, 1, 1, 2, 2, 3])))
            for k in have:
                if k not in keep:
                    P[k] = [] if k in ("stock", "places", "folk") else None
            if not P["quest"]:
                P["reward"] = None
        return P

    def system(self, P):
        c, p, r = self.c, self.p, self.r
        n, role, v, m, cur = P["name"], P["role"], P["village"], P["moodw"], P["cur"]
        card = p(.22)
        f = []
        if card:
            head = ["Name: %s" % n, "Role: %s" % role] + ([] if P["novill"] else ["Village: %s" % v])
            if m:
                head.append("Mood: %s" % m)
        else:
            k = r.random()
            adj = m if m and " " not in m or m == "quiet and shy" else None
            if P["novill"]:
                if adj:
                    head = [c(["You are {n}, {am}.", "Your name is {n} and you are {am}.", "{n} is {am}. You are {n}."]).format(n=n, am=an(adj + " " + role))]
                else:
                    head = [c(["You are {n}, {ar}.", "You are {n} the {r}."]).format(n=n, r=role, ar=an(role))]
                    if m:
                        head.append("You are %s." % m)
            elif k < .4:
                head = ["You are %s, the %s of %s." % (n, role, v)]
                if m:
                    head.append(c(["You are %s.", "Your mood is %s.", "Today you are %s.", "You feel %s.", "Mood: %s."]) % m)
            elif k < .6:
                head = ["You are %s, %s in the village of %s." % (n, an(adj + " " + role if adj else role), v)]
                if m and not adj:
                    head.append("You are %s." % m)
            elif k < .75:
                head = ["You play %s, %s in %s." % (n, an(adj + " " + role if adj else role), v)]
                if m and not adj:
                    head.append("You are %s." % m)
            elif k < .9:
                head = ["Your name is %s. You are the %s of %s." % (n, role, v)]
                if m:
                    head.append(c(["You are %s.", "You are in a %s mood." if adj and m[0] not in "aeiou" else "You are %s."]) % m)
            else:
                head = ["%s is the %s of %s. You are %s." % (n, role, v, n)]
                if m:
                    head.append("You are %s." % m)
        if P["stock"]:
            k = r.random()
            pr = lambda q: "%d %s" % (q, cur)
            if card and k < .5:
                f.append("Sells: " + ", ".join("%s (%s)" % (i, pr(q)) for i, q in P["stock"]))
            elif k < .5:
                f.append(c(["You sell: ", "Your wares: ", "For sale: "]) + ", ".join("%s (%s)" % (i, pr(q)) for i, q in P["stock"]) + ".")
            elif k < .64:
                f += [c(["%s costs %s.", "%s costs %s.", "%s is %s."]) % (c(["The " + i, cap(an(i))]), pr(q)) for i, q in P["stock"]]
            elif k < .93:
                f.append(c(["You sell ", "You sell ", "You have "]) + join(["%s for %s" % (an(i), pr(q)) for i, q in P["stock"]]) + ".")
            else:
                f.append("Prices: " + ", ".join("%s %s" % (i, pr(q)) for i, q in P["stock"]) + ".")
        for q, l in P["places"]:
            f.append(c(["The %s is %s.", "The %s is %s.", "The %s lies %s.", "The %s stands %s."]) % (q, l))
        if P["rumour"]:
            f.append(c(["Rumour: %s.", "You have heard that %s.", "Rumour you know: %s.", "People say that %s.", "News: %s."]) % P["rumour"])
        if P["secret"]:
            f.append(c(["Secret: %s.", "You know a secret: %s.", "Your secret: %s.", "You secretly know that %s."]) % P["secret"])
        if P["quest"]:
            f.append(c(["You need someone to {q}. The reward is {w}.", "Quest: {q}. Reward: {w}.",
                        "You offer a job: {q} (reward: {w}).", "You will pay {w} to anyone who will {q}."]).format(q=P["quest"], w=P["reward"]))
        if P["rel"]:
            f.append(c(["Your %s is called %s.", "Your %s is %s.", "Your %s is named %s."]) % P["rel"])
        if P["bond"]:
            f.append(c(["Your %s is called %s.", "Your %s is %s."]) % P["bond"])
        if P["fear"]:
            f.append(c(["You fear %s.", "You are afraid of %s.", "Your greatest fear: %s."]) % P["fear"])
        if P["like"]:
            f.append(c(["You love %s.", "You like %s.", "Your favourite thing: %s."]) % P["like"])
        if P["age"]:
            f.append(c(["You are %d years old.", "Age: %d."]) % P["age"])
        if P["weather"]:
            f.append(c(["It is %s today.", "Weather: %s.", "The weather is %s."]) % P["weather"])
        if P["origin"]:
            f.append(c(["You come from %s.", "You were born in %s.", "You grew up in %s."]) % P["origin"])
        for a, b in P["folk"]:
            f.append(c(["%s is the %s.", "%s is the %s of the village."]) % (a, b))
        if P["player"]:
            f.append(c(["You are talking to %s, a %s.", "The player is %s, a %s.", "The visitor is called %s, a %s."]) % P["player"])
        r.shuffle(f)
        if P["len"] == "short":
            f.append(c(["Keep your answers short.", "Answer briefly.", "Answer in one sentence."]))
        elif P["len"] == "long":
            f.append(c(["You love to talk.", "You talk a lot.", "Answer at length."]))
        if p(.25):
            f.append(c(["Stay in character.", "Never break character.", "Speak as this character.", "You know nothing about the modern world."]))
        out = head + f
        return "\n".join(x.rstrip(".") if card and ":" in x else x for x in out) if card else " ".join(out)

    # ------------------------------------------------------------ dialogue
    def fmt(self, t, P):
        return t.format(name=P["name"], role=P["role"], village=P["village"], craft=P["craft"], mood=P["moodw"],
                        **self.slots)

    def M(self, P):
        return T.MOODS[P["mood"]] if P["mood"] else T.NEUTRAL

    def wrap(self, P, core, st, intent):
        """core: list of sentences -> answer in the persona's mood"""
        M = self.M(P)
        core = [x for x in core if x]
        if P["len"] == "short":
            return core[0]
        out = []
        own = intent in ("greet", "bye", "how", "thx", "comp", "ins")
        if not own:
            k = self.r.random()
            if st["pname"] and k < .22:
                out.append(self.c(["Listen, %s.", "Ah, %s.", "Well, %s.", "%s, my friend.", "See here, %s."]) % st["pname"])
            elif k < (.6 if P["mood"] else .3):
                out.append(self.c(M["pre"]))
        out += core
        if P["len"] == "long" and not own:
            R = role_of(P["role"])
            out.append(self.c(R["work"] + R["past"] + R["hard"] + R["tools"]))
        if self.p(.5 if P["mood"] else .15) and intent != "bye":
            out.append(self.c(M["suf"]))
        return " ".join(out)

    def price_of(self, P, item):
        for i, q in P["stock"]:
            if i == item:
                return q

    def stocklist(self, P):
        cur = P["cur"]
        return join(["%s for %d %s" % (an(i), q, cur) for i, q in P["stock"]])

    def turn(self, P, st, intent):
        """-> (user text, list of answer sentences, intent for wrapping, key fact)"""
        c, p, s = self.c, self.p, self.s
        R, M = role_of(P["role"]), self.M(P)
        F = lambda t: self.fmt(t, P)
        key = None
        if intent == "greet":
            u = s("Hello!|Hi.|Good day.|Good morning.|Greetings.|Hey there.|Good afternoon.|Hello, my friend.|Hi, {name}!|Good to see you.|Hello again.|Welcome.|Ho there!|Anyone here?|Excuse me.|May I come in?|Can we talk?|I would like to talk to you.|Hello there.|Hey.|Good evening.|Hail, {role}!|Hello, {name}.|Hi there!|Well met.|Good day to you, {role}.")
            a = [F(c(M["greet"]))]
            if st["pname"] and p(.7):
                a = [s("Ah, %s! Good to see you.|Hello, %s.|Welcome, %s.|%s! What brings you here?|Good day, %s.") % st["pname"]]
                key = st["pname"]
                return F(u), a, "greet", key
            return F(u), a, "greet", key
        if intent == "who":
            u = s("Who are you?|What is your name?|What's your name?|What do they call you?|May I know your name?|Tell me who you are.|And you are?|Your name?|I do not know you. Who are you?|Introduce yourself.|Who am I talking to?|Who might you be?|Tell me your name.|What should I call you?|With whom do I speak?|Who is this?|Please introduce yourself.|What's your name, friend?")
            a = [F(s("I am {name}, the {role} of {village}.|My name is {name}. I am the {role} here in {village}.|They call me {name}. I am a {role}.|{name} is my name, and I am the {role} of {village}.|I am {name}."))]
            return u, a, intent, P["name"]
        if intent == "work":
            u = s("What do you do?|What is your work?|What kind of work do you do?|What are you?|What are you doing?|What is your craft?|Tell me what you do.|Do you work here?|What is your trade?|Tell me about your work.|What do you do all day?|What does a {role} do?|How do you earn your bread?|What is your job?")
            a = [F(s("I am the {role}.|I am a {role}.|I work as the {role} of {village}.|")) if p(.6) else "", c(R["work"])]
            return F(u), a, intent, P["role"] if a[0] else None
        if intent == "how":
            return s("How are you?|How are you today?|How are you feeling?|How do you do?|What is your mood?|You look strange. Are you all right?|How was your day?|How are things?|How do you feel?|Are you well?|How is it going?|How fares the day?|What is wrong with you?|Are you all right?|How is life?"), [F(c(M["how"]))], "how", None
        if intent == "past":
            u = s("Tell me about your past.|How did you become a {role}?|What did you do before?|Where did you learn your trade?|Tell me about yourself.|What is your story?|Have you always been a {role}?")
            return F(u), [c(R["past"])], intent, None
        if intent == "tools":
            return s("What tools do you use?|What do you need for your work?|Show me your tools.|What is your most important tool?"), [c(R["tools"])], intent, None
        if intent == "teach":
            return F(s("Teach me something.|Can you teach me your craft?|What is the secret of your craft?|I want to become a {role}.|How can I learn to be a {role}?|Show me how you work.|Give me a tip about {craft}.")), [c(R["teach"])], intent, None
        if intent == "hard":
            return s("Is your work hard?|What is the worst part of your work?|Is it difficult?|Do you like your work?|Are you tired of your work?|What do you hate about your work?"), [c(R["hard"])], intent, None
        if intent == "joke":
            return s("Tell me a joke.|Do you know a joke?|Do you know any jokes?|Tell me something funny.|Cheer me up.|I need a laugh.|A joke, please!|Make me laugh.|Say something funny.|Can you tell me something funny?"), [c(R["joke"])], intent, None
        if intent == "sell":
            u = s("What do you sell?|What do you have for sale?|Show me your wares.|What can you sell me?|What do you have?|What have you got?|What do you offer?|Is there anything I can buy?|What things do you sell?|Do you have any goods?|Can I see what you sell?|List your goods.|What is for sale?|Which goods do you have today?|What can I buy here?|Do you have anything to sell?|What goods do you have?|I would like to buy something.|Let me see your goods.|What are you selling?|I want to trade.|What is in your shop?")
            if P["stock"]:
                return u, [s("I sell %s.|I have %s.|I can offer you %s.|You can buy %s.|Today I have %s.") % self.stocklist(P)], intent, P["stock"][0][0]
            return u, [F(s("I have nothing to sell.|I sell nothing. I am only a {role}.|Nothing today. Come back another time.|I have no goods for sale."))], intent, None
        if intent == "price":
            if P["stock"] and p(.75):
                i, q = c(P["stock"])
                u = s("How much is the {i}?|What does the {i} cost?|How much for {ai}?|How much does the {i} cost?|How much does {ai} cost?|What would {ai} cost me?|Price of the {i}?|What do you charge for {ai}?|What do you ask for the {i}?|How much money do you want for the {i}?|{i}, how much?|I would like to know the price of the {i}.|How much is {ai}?|What is the price of the {i}?|How much do you want for the {i}?|How many coins for {ai}?|Is the {i} expensive?|And the {i}?|Tell me the price of the {i}.")
                a = s("The {i} costs {q}.|{Ai} costs {q}.|That will be {q}.|I want {q} for the {i}.|The price is {q}.|For {q}, the {i} is yours.|{q}.|The {i} is {q}.")
                d = dict(i=i, ai=an(i), Ai=cap(an(i)), q="%d %s" % (q, P["cur"]))
                st["seen"] = i
                return u.format(**d), [a.format(**d)], intent, str(q)
            i = c(sorted(set(c(ROLE_NAMES) and [x for z in ROLE_NAMES for x in T.ROLES[z]["items"]]) - set(x for x, _ in P["stock"])))
            u = s("How much is {ai}?|What does {ai} cost?|How much for {ai}?|Do you sell {ai}?|Do you have {ai}?|Can I get {ai} from you?").format(ai=an(i))
            a = [s("I do not sell {ai}.|I have no {i}.|There is no {i} here.|I am sorry, I do not have {ai}.|You will not find {ai} here.").format(i=i, ai=an(i))]
            if P["stock"] and p(.6):
                a.append(s("I only have %s.|But I can sell you %s.") % self.stocklist(P))
            return u, a, intent, None
        if intent == "have":
            if P["stock"]:
                i, q = c(P["stock"])
                u = s("Do you have {ai}?|Do you sell {ai}?|Can I get {ai} here?|I am looking for {ai}.|Is there {ai} for sale?|I need {ai}.|Have you got {ai}?|You have {ai}, right?|Could I find {ai} here?").format(ai=an(i))
                a = s("Yes, I have {ai} for {q}.|Yes. {Ai} costs {q}.|I do. The price is {q}.|Yes, for {q}.|I have {ai}. It costs {q}.")
                st["seen"] = i
                return u, [a.format(ai=an(i), Ai=cap(an(i)), q="%d %s" % (q, P["cur"]))], intent, str(q)
            return self.turn(P, st, "price")
        if intent == "buy":
            if P["stock"]:
                i, q = c(P["stock"])
                d = dict(i=i, ai=an(i), q="%d %s" % (q, P["cur"]))
                u = s("I want to buy the {i}.|I will take the {i}.|Give me {ai}, please.|I would like {ai}.|One {i}, please.|Sell me the {i}.|I'll buy the {i}.|Here is the money for the {i}.|Let me have the {i}.|I want the {i}.|I need {ai}, please.|Can I buy the {i}?|Could I buy {ai}?|May I have {ai}?|I buy the {i}.|I would like to buy {ai}.|I'd like to buy the {i}, please.").format(**d)
                a = s("Here is your {i}. That will be {q}.|The {i} is yours for {q}.|Good choice. {q}, please.|Done. One {i} for {q}.|Take the {i}. You owe me {q}.|{q} for the {i}. Thank you.").format(**d)
                st["bought"].append((i, q))
                return u, [a], intent, str(q)
            i = c(R["items"])
            return s("I want to buy {ai}.|Sell me {ai}.|I would like {ai}.|Give me {ai}.").format(ai=an(i)), [F(s("I have nothing to sell.|I do not sell {ai}. I am only a {role}.|I am sorry, I have no {i} for you.").replace("{ai}", an(i)).replace("{i}", i))], intent, None
        if intent == "haggle":
            i = st["seen"] or (P["stock"] and c(P["stock"])[0])
            if i:
                q = "%d %s" % (self.price_of(P, i), P["cur"])
                u = s("The {i} is too expensive.|Can you make the {i} cheaper?|Give me a better price for the {i}.|I will not pay so much for the {i}.|Can I have the {i} for less?").format(i=i)
                a = s("The price is {q}, and not less.|No. The {i} costs {q}.|{q} is a fair price.|I cannot go lower than {q}.|Then do not buy it. It costs {q}.|A good {i} is worth {q}.").format(i=i, q=q)
                return u, [a], intent, q.split()[0]
            return self.turn(P, st, "sell")
        if intent == "bought":
            u = s("What did I buy from you?|What have I bought?|Do you remember what I bought?|What did I buy?")
            if st["bought"]:
                i, q = st["bought"][-1]
                return u, [s("You bought the {i} for {q}.|You bought {ai}.|{Ai}, for {q}.|The {i}, of course.").format(i=i, ai=an(i), Ai=cap(an(i)), q="%d %s" % (q, P["cur"]))], intent, i
            return u, [s("You have bought nothing from me.|Nothing yet.|You did not buy anything.")], intent, None
        if intent == "iwantsell":
            i = c([x for z in ROLE_NAMES for x in T.ROLES[z]["items"]])
            return s("I want to sell you {ai}.|Do you want to buy my {i}?|Will you buy {ai} from me?|How much will you give me for my {i}?").format(i=i, ai=an(i)), [F(s("I do not need {ai}.|What should a {role} do with {ai}?|Keep your {i}. I have no use for it.|Ask a merchant. I do not buy {ai}.".replace("{ai}", an(i)).replace("{i}", i)))], intent, i
        if intent == "where":
            if P["places"] and p(.72):
                q, l = c(P["places"])
                u = s("Where is the {q}?|How do I get to the {q}?|I am looking for the {q}.|Can you tell me the way to the {q}?|Where can I find the {q}?|Which way to the {q}?|Do you know where the {q} is?|Excuse me, where is the {q}?|Is there {aq} here?|I need to find the {q}.|I want to go to the {q}.|How can I reach the {q}?|Show me the way to the {q}.|Where do I find the {q}?|Could you tell me where the {q} is?|In which direction is the {q}?|Please tell me where the {q} is.|The {q}, where is it?|I must get to the {q}.|Is the {q} far from here?|Does this village have {aq}?").format(q=q, aq=an(q))
                a = s("The {q} is {l}.|You will find the {q} {l}.|It is {l}.|{L}.|Go straight on. The {q} is {l}.|Look {l}. There is the {q}.|The {q}? It is {l}.").format(q=q, l=l, L=cap(l))
                return u, [a], intent, l
            q = c([x for x in T.PLACES if x not in [y for y, _ in P["places"]]])
            if p(.2):
                q = self.nonsense() + c([" tower", " gate", " inn", "", " bridge"])
            u = s("Where is the {q}?|How do I get to the {q}?|I am looking for the {q}.|Can you tell me the way to the {q}?|Where can I find the {q}?|Do you know where the {q} is?").format(q=q)
            a = s("I do not know where the {q} is.|The {q}? I cannot tell you.|I have never been to the {q}.|Ask someone else. I do not know the way to the {q}.|I do not know, stranger.").format(q=q)
            return u, [a], intent, None
        if intent == "rumour":
            u = s("Have you heard any rumours?|Any news?|What is the latest gossip?|Did anything happen lately?|What do people say?|Heard anything interesting?|Tell me a rumour.|What is new in {village}?|Is there any gossip?|What is going on here?|What is the news?|What's new?|Do you have any news?|Have you heard anything?|What have you heard?|Any rumours?|Do you know any rumours?|Any gossip?|What happened here?|Has anything strange happened?|Tell me the news.|What are people talking about?|What is the talk of the village?|Any strange stories lately?")
            if P["rumour"]:
                return F(u), [s("They say that {x}.|I heard that {x}.|People say that {x}.|{X}, they say.|{X}.|Have you heard? {X}.|Someone told me that {x}.").format(x=P["rumour"], X=cap(P["rumour"]))], intent, P["rumour"]
            return F(u), [F(s("I have heard nothing new.|Nothing ever happens in {village}.|No news is good news.|I do not listen to gossip."))], intent, None
        if intent == "secret":
            u = s("Do you have a secret?|Tell me a secret.|What are you hiding?|Do you know any secrets?|You are hiding something.|What is your secret?|Can you tell me a secret?|Is there something you are not telling me?|What do you know that others do not?|Do you keep any secrets?|Tell me your secret.|I think you know a secret.")
            if P["secret"]:
                if st["promised"] or p(.35):
                    st["told"] = True
                    return u, [s("All right. {X}.|Come closer. {X}.|Promise to tell nobody: {x}.|Very well, the secret is this: {x}.").format(x=P["secret"], X=cap(P["secret"]))], intent, P["secret"]
                st["asked"] = True
                return u, [s("I know something, but I will not tell it to a stranger.|Why should I trust you with a secret?|First promise to tell nobody.|Maybe I do. Can you keep your mouth shut?")], intent, None
            return u, [F(s("I have no secrets.|Secrets? I am only a {role}.|There is nothing to hide here.|My life is an open book."))], intent, None
        if intent == "promise":
            st["promised"] = True
            u = s("I promise not to tell anyone.|I promise to keep it secret.|You can trust me.|I will tell nobody.|My lips are sealed.")
            st["told"] = True
            return u, [s("All right. {X}.|Then listen: {x}.|I believe you. {X}.|Very well, the secret is this: {x}.").format(x=P["secret"], X=cap(P["secret"]))], intent, P["secret"]
        if intent == "quest":
            u = s("Do you have work for me?|Do you need help?|Is there anything I can do for you?|Do you have a quest for me?|I am looking for work.|Can I help you?|Do you have a job for me?|How can I earn some coins?|Is there a task for me?|I need money. Is there any work?|Any work?|Any quests?|Do you have any work?|Have you got a job for me?|What can I do for you?|How can I help you?|Do you need anything?|Do you want help with something?|I want to help.|Is there some work to do?|Give me a quest.|Do you have a problem?|I could use some work.|Can I earn money here?")
            if P["quest"]:
                st["q"] = 1
                return u, [s("Yes. I need someone to {q}. The reward is {w}.|You could {q}. I will give you {w}.|I have a job: {q}. I will pay {w}.|If you {q}, I will give you {w}.|Please {q}. Your reward will be {w}.").format(q=P["quest"], w=P["reward"])], intent, P["quest"]
            return u, [F(s("I have no work for you.|No, I need no help today.|There is no job here. Ask someone else.|Thank you, but I can do my work alone."))], intent, None
        if intent == "reward":
            u = s("What is the reward?|What do I get for it?|How much will you pay me?|And what do you pay?|What will you give me?|Is there a reward?|How much is the reward?|What do I get?|How much money do I get?|Will you pay me?")
            if P["quest"]:
                return u, [s("The reward is {w}.|I will give you {w}.|You will get {w}.|{W}, if you do it well.").format(w=P["reward"], W=cap(P["reward"]))], intent, P["reward"]
            return u, [s("A reward? For what?|There is no reward, because there is no job.|I promised you nothing.")], intent, None
        if intent == "remind":
            u = s("What do I have to do?|What was the task again?|What do you need?|Tell me about the job again.|What should I do?|I forgot the task.")
            if P["quest"]:
                return u, [s("You must {q}.|I need you to {q}.|{Q}, that is all.|Your task is to {q}.").format(q=P["quest"], Q=cap(P["quest"]))], intent, P["quest"]
            return u, [s("There is no task.|I gave you no job.|You have nothing to do for me.")], intent, None
        if intent == "accept":
            st["q"] = 2
            return s("I will do it.|I accept.|Consider it done.|All right, I will help you.|I'll take the job.|You can count on me."), [s("Good. Go and {q}.|Thank you. Please {q} soon.|Then {q}, and come back to me.|I knew I could count on you. {Q}, and {w} will be yours.").format(q=P["quest"], Q=cap(P["quest"]), w=P["reward"])], intent, P["quest"]
        if intent == "decline":
            return s("No, I have no time for that.|I cannot do that.|That is too dangerous for me.|No, find someone else.|I do not want this job."), [s("A pity. Then I must find someone else.|As you wish. Come back if you change your mind.|Too bad. {W} would have been yours.|I understand.").format(W=cap(P["reward"]))], intent, None
        if intent == "done":
            u = s("I have done it.|The job is done.|I did what you asked.|It is finished.|I have completed the task.|I am back, the work is done.")
            if P["quest"]:
                st["q"] = 3
                return u, [s("Well done! Here is your reward: {w}.|Thank you! Take {w}.|You have earned {w}.|Good work. Here, {w} for you.").format(w=P["reward"])], intent, P["reward"]
            return u, [s("Done? What have you done? I gave you no task.|I do not know what you mean. I asked for nothing.|There was no job, as far as I know.")], intent, None
        if intent == "family":
            if P["rel"] and p(.6):
                a, b = P["rel"]
                u = s("Tell me about your {a}.|Who is your {a}?|What is your {a} called?|Do you have {aa}?|What is the name of your {a}?|How is your {a}?").format(a=a, aa=an(a))
                return u, [s("My {a} is called {b}.|My {a} is {b}.|{b} is my {a}.|Yes, my {a} {b} lives here too.|My {a}? That is {b}.").format(a=a, b=b)], intent, b
            u = s("Do you have a family?|Tell me about your family.|Any family?|Do you live alone?|Is your family here?|What about your family?|Do you have any relatives?|Who is in your family?|Are you alone here?")
            if P["rel"]:
                a, b = P["rel"]
                return u, [s("I have {aa} called {b}.|There is my {a}, {b}.|Yes, my {a} {b}.|My {a} {b} is all I have.").format(a=a, aa=an(a), b=b)], intent, b
            return u, [F(s("I have no family here.|I live alone.|My family is far away.|The people of {village} are my family."))], intent, None
        if intent == "relmiss":
            a = c([x for x in T.RELATIONS if not (P["rel"] and P["rel"][0] == x)])
            return s("Tell me about your {a}.|Who is your {a}?|What is your {a} called?|Do you have {aa}?").format(a=a, aa=an(a)), [s("I have no {a}.|I do not have {aa}.|You are mistaken, I have no {a}.").format(a=a, aa=an(a))], intent, None
        if intent == "bond":
            if P["bond"]:
                a, b = P["bond"]
                return s("Who is your {a}?|Do you have {aa}?|Tell me about your {a}.|What is the name of your {a}?").format(a=a, aa=an(a)), [s("My {a} is {b}.|{b} is my {a}.|My {a} is called {b}.|That would be {b}.").format(a=a, b=b)], intent, b
            a = c(T.BONDS)
            return s("Who is your {a}?|Do you have {aa}?").format(a=a, aa=an(a)), [s("I have no {a}.|I do not have {aa}.|I would not call anyone my {a}.").format(a=a, aa=an(a))], intent, None
        if intent == "folk":
            if P["folk"] and p(.75):
                a, b = c(P["folk"])
                if p(.5):
                    return s("Who is {a}?|Do you know {a}?|Tell me about {a}.|Have you met {a}?|What does {a} do?|What is {a}?|I am looking for {a}.|What can you tell me about {a}?").format(a=a), [s("{a} is the {b}.|{a} is the {b} of {v}.|Yes, {a} is our {b}.|{a}? That is the {b}.").format(a=a, b=b, v=P["village"])], intent, b
                return s("Who is the {b}?|Do you know the {b}?|What is the name of the {b}?|I am looking for the {b}.|Who works as the {b} here?|Tell me who the {b} is.|What is the {b} called?|Is there {ab} here?").format(b=b, ab=an(b)), [s("The {b} is called {a}.|{a} is the {b}.|Our {b} is {a}.|That is {a}.").format(a=a, b=b)], intent, a
            a = c(self.names)
            return s("Who is {a}?|Do you know {a}?|Tell me about {a}.|Where is {a}?").format(a=a), [s("I do not know anyone called {a}.|{a}? I have never heard that name.|There is no {a} here.|I do not know {a}.").format(a=a)], intent, a
        if intent == "fear":
            u = s("What are you afraid of?|What do you fear?|What frightens you?|Tell me about your fears.|Do you fear anything?|What gives you nightmares?|Are you scared of something?|What are you scared of?|Are you afraid of anything?|What is your greatest fear?|What scares you?|Is there something you fear?")
            if P["fear"]:
                return u, [s("I fear {x}.|I am afraid of {x}.|{X}. Do not laugh.|Nothing scares me more than {x}.|I have always been afraid of {x}.").format(x=P["fear"], X=cap(P["fear"]))], intent, P["fear"]
            return u, [s("I am afraid of nothing.|I do not like to talk about fear.|Fear? I have no time for it.|Only of an empty plate.")], intent, None
        if intent == "like":
            u = s("What do you like?|What makes you happy?|Tell me what you like.|Is there something you love?|What is your favourite?|What do you like to do?|What do you love?|What is your favourite thing?|What do you enjoy?|What do you love most?|What do you like best?")
            if P["like"]:
                return u, [s("I love {x}.|I like {x} very much.|{X}, without a doubt.|Nothing is better than {x}.|I could never live without {x}.").format(x=P["like"], X=cap(P["like"]))], intent, P["like"]
            return u, [F(s("I like my work.|A quiet day, that is all I need.|I like {village} in the morning.|I do not think about such things."))], intent, None
        if intent == "age":
            if P["age"]:
                return s("How old are you?|What is your age?|How many winters have you seen?|May I ask your age?|What age are you?|How many years have you lived?|Tell me your age.|Are you old?"), [s("I am {n} years old.|{n} years old.|I have seen {n} winters.|I turned {n} this year.").format(n=P["age"])], intent, str(P["age"])
            u, a = T.GENERIC["age_unknown"]
            return c(u), [c(a)], intent, None
        if intent == "weather":
            u = s("How is the weather?|What is the weather like?|What do you think of the weather?|Nice weather, is it not?|Will it rain?|Is it cold outside?|How is the weather today?|What a day, is it not?|What is the weather today?|How is the sky today?|Is the weather good?|Is it raining?|What does the sky look like?")
            if P["weather"]:
                return u, [s("It is {x} today.|It is {x}, as you can see.|Look outside. It is {x}.|It has been {x} since morning.").format(x=P["weather"])], intent, P["weather"]
            return u, [s("I have not looked outside today.|The weather does what it wants.|Ask the clouds, not me.|I cannot tell. My nose says rain.")], intent, None
        if intent == "origin":
            u = s("Where do you come from?|Where were you born?|Where are you from?|Where did you grow up?|Are you from here?|Which village are you from?|Have you always lived here?|Where is your old home?|Were you born here?")
            if P["origin"]:
                return u, [s("I come from {x}.|I was born in {x}.|I grew up in {x}, far from here.|{x} is my old home.|I am from {x}.").format(x=P["origin"])], intent, P["origin"]
            return u, [F(s("I was born here in {village}.|I have always lived in {village}.|I am from {village}.|Right here, in {village}."))], intent, P["village"]
        if intent == "intro":
            n = c(self.names)
            st["pname"] = n
            u = s("My name is {n}.|I am {n}.|The name is {n}.|People call me {n}.|I am called {n}.|Hello! My name is {n}.|Let me introduce myself. I am {n}.|Greetings, I am {n}, {k}.|Remember my name: {n}.|They call me {n}.|You can call me {n}.|I am {n}, {k}.|Hello, I am {n}.|Hi, my name is {n}.|{n} is my name.|I'm {n}.|Good day, my name is {n}.").format(n=n, k=an(c(T.PLAYER_KINDS)))
            a = s("Good to meet you, {n}. I am {me}.|Welcome to {v}, {n}.|{n}? A good name.|Hello, {n}.|I am {me}. What can I do for you, {n}?|{n}. I will remember that.|Well met, {n}.").format(n=n, me=P["name"], v=P["village"])
            return u, [a], intent, n
        if intent == "myname":
            u = s("What is my name?|Do you remember my name?|Do you still know my name?|Have you forgotten my name?|Tell me my name.|Who do you think I am?|Say my name.|Do you know who I am?|Who am I?|Do you know my name?|What was my name again?")
            if st["pname"]:
                return u, [s("You are {n}.|Your name is {n}.|Of course. You are {n}.|{n}, is it not?|I remember you, {n}.|They call you {n}.").format(n=st["pname"])], intent, st["pname"]
            return u, [s("You have not told me your name.|I do not know your name.|How should I know? You never told me.|A stranger, to me.")], intent, None
        if intent == "offtopic":
            if p(.62):
                x = c(T.MODERN) if p(.7) else self.c(["the ", "a ", ""]) + self.nonsense()
                u = c(T.OFF_Q).format(x=x)
                if x.startswith("a ") and p(.5):
                    u = "What is %s?" % x
                return u, [c(T.OFF_A).replace("{x}", x).format(role=P["role"], village=P["village"], craft=P["craft"])], intent, None
            if p(.7):
                return c(T.OFF_TASK_Q), [F(c(T.OFF_TASK_A))], intent, None
            return c(T.AI_Q), [F(c(T.AI_A))], intent, None
        if intent == "gibberish":
            w = ["".join(c("abcdefghijklmnopqrstuvwxyz") for _ in range(self.r.randint(2, 7))) if p(.5) else self.nonsense() for _ in range(self.r.randint(1, 4))]
            return " ".join(w) + c(["", ".", "?", "!"]), [c(T.GIB_A)], intent, None
        if intent == "thx":
            return s("Thank you.|Thanks!|Thank you very much.|Thanks a lot.|Thanks, {n}.|I am grateful.|You helped me a lot.|Great, thanks.|Thank you so much!|Good to know, thank you.|I thank you, {n}.|Many thanks.|Thanks for your help.|That is very helpful, thank you.").format(n=P["name"]), [c(M["thx"])], "thx", None
        if intent == "comp":
            return F(s("You are very wise.|You look good today.|You are great.|I like your face.|You are very kind.|You are funny.|I admire you.|You are the best {role} I know.|I like your work.|You have a beautiful voice.|You are a good person.|What fine work you do!")), [c(M["comp"])], "comp", None
        if intent == "ins":
            return F(s("You are an idiot.|You smell like a goat.|You are stupid.|What an ugly face.|You are a liar.|You stink.|Go away, fool.|You are boring.|You are ugly.|I hate you.|You are the worst {role} ever.|Shut up!|What a fool you are.|You are useless.|Your village stinks.")), [F(c(M["ins"]))], "ins", None
        if intent == "bye":
            u = s("Goodbye.|Farewell.|I must go now.|Bye bye.|Good bye.|I have to go.|I will go now.|See you.|See you soon.|See you tomorrow.|So long.|That is all. Goodbye.|It was nice to meet you. Goodbye.|Thank you and goodbye.|See you later.|Bye!|I have to leave.|Good night.|Until next time.|Take care, {name}.|I am leaving now.")
            a = [F(c(M["bye"]))]
            if st["pname"] and p(.6):
                a = [s("Farewell, %s.|Goodbye, %s.|Take care, %s.|Safe travels, %s.|Until next time, %s.|Come back soon, %s.") % st["pname"]]
                return F(u), a, "bye", st["pname"]
            return F(u), a, "bye", None
        if intent == "repeat":
            return s("What did you say?|Can you repeat that?|Say that again.|Pardon?|I did not hear you."), [st["last"]], "repeat", None
        u, a = T.GENERIC[intent]
        return F(c(u)), [F(c(a))], intent, None

    BASE = dict(greet=5, who=6, work=4, how=4, past=2.5, tools=1, teach=2, hard=1.2, joke=2, sell=5, price=6, have=3.5, buy=4, haggle=1.5,
                iwantsell=.8, where=9, rumour=6, secret=2.5, quest=6, reward=1.5, remind=1.2, done=1.5, family=3, relmiss=.8, bond=1.3, folk=3,
                fear=2.2, like=2.2, age=1.8, weather=2.2, origin=2, intro=5, myname=3, offtopic=6, gibberish=.8, thx=3, comp=1, ins=1.2,
                bought=.8, where_am_i=2, village=1.6)
    for _k in T.GENERIC:
        BASE.setdefault(_k, .55)
    BASE.pop("age_unknown")

    def weights(self, P, st, prev):
        w = dict(self.BASE)
        w["greet"] = 0 if st["n"] else 5
        if not P["stock"]:
            w["price"] *= .3; w["have"] = 0; w["buy"] *= .3; w["haggle"] = 0; w["sell"] *= .5
        if not P["places"]:
            w["where"] *= .35
        for k in ("rumour", "quest", "secret", "fear", "like", "age", "weather", "origin"):
            if not P[k]:
                w[k] *= .4
            else:
                w[k] *= 1.4
        if not P["rel"]:
            w["family"] *= .4
        if not P["bond"]:
            w["bond"] *= .4
        if not P["folk"]:
            w["folk"] *= .4
        if st["bought"]:
            w["bought"] = 5
        if st["pname"]:
            w["myname"] = 6; w["intro"] = 0
        if P["quest"] and st["q"] == 1:
            w["accept"] = 14; w["decline"] = 4; w["reward"] = 7; w["remind"] = 3
        if P["quest"] and st["q"] == 2:
            w["done"] = 8; w["remind"] = 5
        elif P["quest"]:
            w["done"] = .4
        if st.get("asked") and not st["told"]:
            w["promise"] = 25
        if st["seen"]:
            w["haggle"] = 5; w["buy"] *= 1.5
        for k in st["used"]:
            if k not in ("price", "where", "offtopic", "folk"):
                w[k] = w.get(k, 0) * .08
            else:
                w[k] *= .6
        w["repeat"] = .8 if st["last"] and prev not in ("repeat", "bye") else 0
        return w

    def noise(self, u, P):
        r = self.r
        k = r.random()
        if k < .08 and not u.startswith(("Hello", "Hi", "Good", "Excuse", "Hey", "My name", "I am", "Greet", "Welcome", "Bye", "Thank", "Ho ")):
            u = self.c(["Excuse me. ", "Please, ", "Tell me, ", "%s, " % P["name"], "Hey, ", "Good day. ", "Hello. ", "So, ", "Okay. "]) + u
        k = r.random()
        if k < .1:
            u = u.lower()
        elif k < .16:
            u = u.lower().rstrip(".?!")
        elif k < .2:
            u = u.rstrip(".?!")
        if r.random() < .3:
            for a, b in (("do not", "don't"), ("What is", "What's"), ("I am", "I'm"), ("I will", "I'll"), ("Where is", "Where's"), ("cannot", "can't"), ("Who is", "Who's"), ("It is", "It's")):
                u = u.replace(a, b)
        return u

    def dialogue(self, nturn=None, short=False):
        P = self.persona(short)
        if short:
            nturn = self.c([1, 1, 2])
        st = dict(pname=P["player"][0] if P["player"] else None, bought=[], q=0, promised=False, told=False, seen=None, used=[], last=None, n=0)
        msgs, keys = [], []
        nosys = self.p(.03)
        if not nosys:
            msgs.append(("system", self.system(P)))
        self.slots = {}
        n = nturn or self.c([1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7])
        prev = None
        for t in range(n):
            if nosys:
                intent = self.c(["offtopic", "gibberish", "joke2", "yes", "no", "forest", "monsters", "advice", "story", "song", "magic", "king"])
                if intent == "joke2" or intent == "offtopic":
                    intent = "advice"
                u, a, _, key = self.turn(P, st, intent)
                if any(x in " ".join(a) for x in (P["village"], P["role"], P["craft"], P["name"])):
                    continue
                msgs += [("user", u), ("assistant", " ".join(a))]
                continue
            w = self.weights(P, st, prev)
            if short:
                for k, q in FACT_INTENTS.items():
                    if P[q]:
                        w[k] = w.get(k, 1) * 6
                w["who"] *= 3
            if t == 0 and self.p(.4):
                intent = "greet" if self.p(.75) else "intro"
            elif t == n - 1 and n > 2 and self.p(.3):
                intent = "bye"
            else:
                intent = self.r.choices(list(w), list(w.values()))[0]
            lead = ""
            if not st["pname"] and intent in ("where", "price", "sell", "rumour", "quest", "who", "work", "buy", "have", "family", "village") and self.p(.1):
                st["pname"] = self.c(self.names)
                lead = self.s("My name is {n}. |I am {n}. |Hello, I am {n}. |Hi, my name is {n}. |Good day, I am {n}. ").format(n=st["pname"]) + " "
            u, a, kind, key = self.turn(P, st, intent)
            u = lead + u
            if kind == "repeat":
                ans = a[0]
            else:
                ans = self.wrap(P, a, st, kind)
                st["last"] = a[0]
                if P["len"] != "short" and len([x for x in a if x]) > 1:
                    st["last"] = " ".join(x for x in a if x)
            msgs += [("user", self.noise(u, P)), ("assistant", ans)]
            keys.append((intent, key))
            st["used"].append(intent)
            st["n"] += 1
            prev = intent
            if intent == "bye":
                break
        return P, msgs, keys

    # ------------------------------------------------------------ stories
    def story(self):
        c, p, s, r = self.c, self.p, self.s, self.r
        role = c(ROLE_NAMES)
        n, n2, v = c(self.names), c(self.names), c(self.vills)
        role2 = c(ROLE_NAMES)
        m = c(list(T.MOODS))
        d = dict(n=n, n2=n2, v=v, role=role, role2=role2, arole=an(role), arole2=an(role2), m=m, am=an(m), item=c(T.ROLES[role]["items"]),
                 item2=c(T.ROLES[role2]["items"]), like=c(T.LIKES), fear=c(T.FEARS), place=c(T.PLACES), place2=c(T.PLACES), loc=self.loc(), loc2=self.loc(),
                 lost=c(T.Q_LOST), beasts=c(T.Q_BEASTS), things=c(T.Q_THINGS), num=r.randint(2, 20), cnum=r.randint(2, 99), cur=c(T.CURRENCY),
                 rum=self.rumour(), sec=self.secret(), gift=c(T.REWARD_ITEMS), w=c(T.WEATHER), rel=c(T.RELATIONS), when=c(T.RUM_T))
        d["theitem"], d["theitem2"], d["aitem"], d["aitem2"] = "the " + d["item"], "the " + d["item2"], an(d["item"]), an(d["item2"])
        d["lostn"] = d["lost"].split(" ", 1)[1]
        d["a_s"] = cap(c(T.ROLES[role]["teach"]))
        out = [s("Once upon a time there was {am} {role} called {n} who lived in {v}.|Once upon a time, in the village of {v}, there lived {arole} named {n}.|Long ago, {n} was the {role} of {v}.|In {v} there lived {am} {role}, and everyone called this {role} {n}.|There once was {arole} in {v}. The name of the {role} was {n}."),
               s("{n} loved {like}, but was afraid of {fear}.|Every day {n} worked hard, and every evening {n} dreamed of {like}.|The people of {v} liked {n}, because {n} was always {m}.|{n} had a {rel} called {n2} and an old house {loc}.|{n} lived {loc} and sold {aitem} now and then.")]
        plots = [
         ["One day {lost} was gone.|One morning {n} woke up and {lost} was missing.|One {w} day, {n} lost {lost}.", "{n} looked {loc}, but found nothing.|{n} asked everyone in {v}, but nobody had seen it.", "Then {n2} the {role2} came and said: \"I saw the {lostn} {loc2}.\"|At last {n2} the {role2} helped {n} to search.", "Together they went there, and {loc2} they found the {lostn}.|They walked until evening, and {loc2} lay the {lostn}.", "{n} gave {n2} {gift} to say thank you.|{n} laughed, and {n2} laughed too.|{n} gave {n2} {cnum} {cur} and a big smile."],
         ["One night {beasts} came to {v}.|One {w} evening, the people heard a noise. Some {beasts} were near the {place}!", "Everybody was afraid and hid in the {place2}.|The children cried, and the dogs barked.", "But {n} was brave and took {aitem}.|\"I will not hide,\" said {n}, and went out with {aitem}.", "{n} shouted so loudly that the {beasts} ran away.|{n} made a big fire, and the {beasts} fled into the night.|{n} sang an old song, and the {beasts} fell asleep.", "From that day on, {n} was the hero of {v}.|{n2} the {role2} baked a cake as big as a wheel for {n}.|The people gave {n} {gift}."],
         ["One day {n2} the {role2} came to the {place} and asked for help.|One {w} morning {n2}, {arole2}, knocked on the door.", "\"I need {num} {things},\" said {n2}. \"I will pay {cnum} {cur}.\"|\"Please bring me {num} {things},\" said {n2}, \"and you will get {gift}.\"", "So {n} walked to the place {loc} and looked for {things}.|{n} went out early and searched {loc2}.", "It took three days, but at last {n} had all {num} {things}.|It was cold and dark, but {n} did not give up and found {num} {things}.", "{n2} was so happy that they became friends.|{n2} paid at once, and they shared a loaf of bread.|When {n} came back, the whole village of {v} cheered."],
         ["One day {n} heard a rumour: {rum}.|In the {place}, {n} heard that {rum}.", "{n} wanted to know the truth and went there {when}.|\"I do not believe it,\" said {n}, and went to look.", "But there was only {n2} the {role2}, who laughed.|There {n} met {n2} the {role2}, who had heard the same.", "\"People talk too much,\" said {n2}.|\"It was me,\" said {n2}. \"I wanted to play a trick.\"", "They sat down and told stories until the sun came up.|They went home together, and {n} told nobody."],
         ["One day {n} met {n2}, {arole2} from far away.|On a {w} day, a stranger came to {v}. It was {n2}, {arole2}.", "{n2} had nothing to eat and nowhere to sleep.|{n2} was tired and had only {aitem2} to sell.", "{n} said: \"Come in, there is soup and a warm fire.\"|\"You can sleep in the {place},\" said {n}.", "At night {n2} told a secret: {sec}.|They talked about {like} all night long.", "In the morning {n2} was gone, but on the table lay {gift}.|{n2} stayed in {v} and became the best {role2} of the land."],
         ["{n} wanted to learn something new.|{n} was tired of being {arole}.", "So {n} went to {n2} the {role2} and said: \"Teach me.\"|\"I want to be {arole2},\" {n} told {n2}.", "{n2} worked {loc} and knew many things.|But the work of {arole2} was hard, and {n} was slow.", "After one year {n} said: \"I miss my old work.\"|One day {n} broke {aitem2} and began to laugh.", "So {n} went back and was happy to be {arole} again.|\"Every craft is hard,\" said {n2}. \"The best one is your own.\""],
        ]
        pl = c(plots)
        out += [s(x) for x in pl]
        if p(.5):
            out.insert(r.randint(2, len(out) - 1), s("The sky was {w} that day.|It was {w}, and the wind smelled of {like}.|Somewhere near the {place2} a dog barked."))
        out.append(s("And they lived happily ever after.|And if you go to {v}, you can still hear the story today.|The end.|That is the story of {n}.|And {n} was never afraid of {fear} again."))
        txt = " ".join(cap(x.format(**d)) for x in out)
        if p(.35):
            k = len(out) // 2
            parts = [cap(x.format(**d)) for x in out]
            txt = " ".join(parts[:k]) + "\n\n" + " ".join(parts[k:])
        return txt


FACT_INTENTS = dict(sell="stock", price="stock", have="stock", buy="stock", where="places", rumour="rumour", quest="quest", reward="quest", remind="quest",
                    family="rel", bond="bond", fear="fear", like="like", age="age", weather="weather", origin="origin", folk="folk", secret="secret", myname="player")


def role_of(role):
    if role in T.ROLES:
        return T.ROLES[role]
    R = dict(T.FREE_ROLE)
    R["craft"] = "the work of %s" % an(role)
    for k in ("work", "past", "tools", "teach", "hard", "joke"):
        R[k] = [x.replace("{role}", role).replace("{arole}", an(role)) for x in R[k]]
    R["items"] = sorted(set(i for q in ROLE_NAMES for i in T.ROLES[q]["items"]))
    return R


def an_reward(g):
    return g.c(T.REWARD_ITEMS)


def chatml(msgs):
    return "".join("%s%s\n%s%s\n" % (IM_S, r, t, IM_E) for r, t in msgs)


# ---------------------------------------------------------------- pirate style (LoRA data)
PIR_WORDS = [(r"\bmy friend\b", "matey"), (r"\bfriend\b", "matey"), (r"\bstranger\b(?! the)", "landlubber"), (r"\btraveller\b", "sailor"), (r"\bYou are\b", "Ye be"),
             (r"\byou are\b", "ye be"), (r"\bI am\b", "I be"), (r"\byou\b", "ye"), (r"\bYou\b", "Ye"), (r"\byour\b", "yer"), (r"\bYour\b", "Yer"), (r"\bmy\b", "me"), (r"\bMy\b", "Me"),
             (r"\bYes\b", "Aye"), (r"\byes\b", "aye"), (r"\bcoins\b", "doubloons"), (r"\bof\b", "o'"), (r"\bThere is\b", "There be"), (r"\bis\b", "be"), (r"\bare\b", "be"), (r"\bold\b", "ol'"),
             (r"\bHello\b", "Ahoy"), (r"\bing\b", "in'"), (r"\bdear\b", "me hearty"), (r"\bthe\b", "th'"), (r"\bThe\b", "Th'")]
PIR_PRE = L("Arr!|Ahoy, matey!|Shiver me timbers!|Yo ho ho!|Blow me down!|Avast!|Aye, aye!|Arrr, listen well!|By Davy Jones!|Ahoy!")
PIR_SUF = L("Arr!|Or I be a bilge rat!|Savvy?|So says the sea!|Raise the black flag!|Now pass the rum!|Yo ho!|May the wind fill yer sails!|Walk the plank if ye doubt me!|Har har har!")


def pirate(g, text):
    for a, b in PIR_WORDS:
        text = re.sub(a, b, text)
    return g.c(PIR_PRE) + " " + text + (" " + g.c(PIR_SUF) if g.p(.75) else "")


def pirate_dialogue(g):
    while True:
        P, msgs, keys = g.dialogue(g.c([1, 1, 2, 2, 3]))
        if msgs and msgs[0][0] == "system" and len(chatml(msgs)) < 1700:
            break
    out = []
    for r_, t in msgs:
        if r_ == "assistant":
            t = pirate(g, t)
        out.append({"role": r_, "content": t})
    return {"messages": out}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out", help="the folder to write into")
    ap.add_argument("--mb", type=float, default=36)
    ap.add_argument("--short-mb", type=float, default=8)
    ap.add_argument("--seed", type=int, default=20261120)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)

    def write(path, g, size, story_share=.1, short=0.0):
        n = tot = nst = 0
        plain = []
        with open(path, "w", encoding="ascii") as f:
            while tot < size:
                if nst <= story_share * tot:
                    t = g.story()
                    nst += len(t)
                    plain.append(t)
                else:
                    P, msgs, keys = g.dialogue(short=g.p(short) if short else False)
                    if not any(r_ == "assistant" for r_, _ in msgs):
                        continue
                    t = chatml(msgs)
                    if len(t) > 2300:
                        continue
                f.write(t + EOT)
                tot += len(t) + len(EOT)
                n += 1
        print("%s: %d documents, %d bytes, %.1f%% stories" % (path, n, tot, 100 * nst / tot))
        return plain

    write(os.path.join(a.out, "train.txt"), Gen(a.seed), a.mb * 1e6)
    if a.short_mb:
        write(os.path.join(a.out, "train_short.txt"), Gen(a.seed + 6), a.short_mb * 1e6, story_share=0, short=1.0)
    gv = Gen(a.seed + 1, val=True)
    plain = write(os.path.join(a.out, "val.txt"), gv, 300e3)
    with open(os.path.join(a.out, "val_plain.txt"), "w", encoding="ascii") as f:
        gp = Gen(a.seed + 5, val=True)
        f.write("\n\n".join(gp.story() for _ in range(250)) + "\n")
    for nm, k, sd, v in (("pirate.jsonl", 2000, 2, False), ("pirate_val.jsonl", 100, 3, True)):
        g = Gen(a.seed + sd, val=v)
        with open(os.path.join(a.out, nm), "w", encoding="ascii") as f:
            for _ in range(k):
                f.write(json.dumps(pirate_dialogue(g)) + "\n")
    # probes: dialogues up to a question whose right answer must contain a given
    # fact, and questions about facts the prompt lacks (the answer must say so)
    ABSENT = dict(where="do not know|cannot tell|never been", rumour="nothing new|othing ever|o news|gossip",
                  quest="no work|no help|no job|work alone", price="do not sell|have no|is no|do not have|will not find|nothing to sell",
                  folk="do not know|never heard|is no", myname="not told|do not know|never told|stranger", secret="no secrets|only a|nothing to hide|open book")
    g = Gen(a.seed + 4, val=True)
    cases, absent = [], []
    while len(cases) < 600 or len(absent) < 200:
        P, msgs, keys = g.dialogue()
        if not msgs or msgs[0][0] != "system":
            continue
        for j, (intent, key) in enumerate(keys):
            ref = msgs[2 + 2 * j][1]
            c = dict(intent=intent, expect=key, messages=[dict(role=r_, content=t) for r_, t in msgs[:2 + 2 * j]], reference=ref)
            if key and key.lower() in ref.lower() and g.p(.5) and not (intent == "folk" and re.search(ABSENT["folk"], ref)):
                cases.append(c)
            elif intent in ABSENT and re.search(ABSENT[intent], ref) and not (intent == "secret" and P["secret"]):
                absent.append(dict(c, expect=None, regex=ABSENT[intent]))
    cases = cases[:600] + absent[:200]
    json.dump(cases, open(os.path.join(a.out, "eval_cases.json"), "w"), indent=0)


if __name__ == "__main__":
    main()
