# SPDX-License-Identifier: Apache-2.0
"""Makes the training text: small tales and short chats, all from a seed.

A tale is not a string of random sentences. A World is drawn first (hero,
helper, home, goal, thing, weather, wish, obstacle) and every sentence is
filled from it, so the thing that is lost in the second sentence is the thing
that is found at the end.

A document is a list of segments (kind, text):
  "bos", "eot", "eos"      control tokens
  "hdr"                    a header: control tokens round a role name
  "ask"                    what a user or the system says (low training weight)
  "say"                    what the model should learn to say

Worlds whose (hero, home) pair falls into a fixed twelfth of all pairs never
occur in the training split and are the only ones in the held-out split.
"""
import random
import zlib

import words as W

VOWELS = "aeiou"


def a(word):
    return ("an " if word[0] in VOWELS else "a ") + word


def cap(s):
    return s[0].upper() + s[1:]


def plural(w):
    if w in W.IRREGULAR:
        return W.IRREGULAR[w]
    if w.endswith(("s", "x", "ch", "sh")):
        return w + "es"
    if w.endswith("y") and w[-2] not in VOWELS:
        return w[:-1] + "ies"
    return w + "s"


def held_out(hero, place):
    return zlib.crc32(f"{hero}/{place}".encode()) % 12 == 0


FORMS = {
    "he": dict(he="he", him="him", his="his"),
    "she": dict(he="she", him="her", his="her"),
    "it": dict(he="it", him="it", his="its"),
}


class World(dict):
    """The facts of one tale; {H} and {F} become a name or 'the fox'."""

    def __init__(self, r, held, hero=None, helper=None, place=None, obj=None, weather=None, wish=None, skill=None,
                 name=None, adj=None):
        super().__init__()
        self.r = r
        while True:
            h = hero or r.choice(W.HEROES)
            p = place or r.choice(list(W.PLACES))
            if held_out(h, p) == held:
                break
            if hero and place:
                hero = None
        self["hero"], self["place"] = h, p
        f = helper or r.choice(W.HELPERS)
        while f == h:
            f = r.choice(W.HELPERS)
        self["helper"] = f
        c = r.choice(W.HELPERS)
        while c in (h, f):
            c = r.choice(W.HELPERS)
        self["third"] = c
        g = W.GENDER.get(h) or r.choice(["he", "she"])
        fg = W.GENDER.get(f) or ({"he": "she", "she": "he"}.get(g, r.choice(["he", "she"])) if r.random() < 0.8
                                 else r.choice(["he", "she"]))
        if name:
            g = "he" if name in W.BOYS else "she"
        elif r.random() < 0.72:
            name = r.choice(W.GIRLS if g == "she" else W.BOYS)
        self.name = name
        self.fname = None
        if r.random() < 0.3:
            self.fname = r.choice(W.GIRLS if fg == "she" else W.BOYS)
            if self.fname == self.name:
                self.fname = None
        for k, v in FORMS[g].items():
            self[k], self[cap(k)] = v, cap(v)
        for k, v in FORMS[fg].items():
            self["f" + k], self["F" + k] = v, cap(v)
        self["adj"] = adj or r.choice(W.HERO_ADJ)
        goal = r.choice([q for q in W.PLACES if q != p])
        self["goal"] = goal
        self["live"], self["home_to"], _ = W.PLACES[p]
        self["at"], self["to"], self["sight"] = W.PLACES[goal]
        o = obj or r.choice(W.OBJECTS)
        self["obj"] = o
        self["col"] = r.choice(W.COLOURS)
        o2 = r.choice([x for x in W.OBJECTS if x != o])
        self["obj2"], self["aobj2"] = o2, a(o2)
        self["cobj"] = f"{self['col']} {o}"
        self["acobj"] = a(self["cobj"])
        self["ahero"], self["ahelper"], self["athird"] = a(h), a(f), a(c)
        self["aadj"] = a(self["adj"])
        self["fadj"] = r.choice([x for x in W.HERO_ADJ if x != self["adj"]])
        self["afadj"] = a(self["fadj"])
        w = weather or r.choice(list(W.WEATHER))
        self["wea"] = w
        self["wea0"], self["wea1"] = W.WEATHER[w]
        self["time"] = r.choice(W.TIMES)
        self["season"] = r.choice(W.SEASON_OF[w].split())
        self["food"] = r.choice(W.FOODS)
        self["spot1"], self["spot2"] = r.sample(W.SPOTS, 2)
        self["lie"] = r.choice(W.LIE)
        self["num"] = r.choice(W.NUM[2:8])
        self.skill = skill or r.choice(list(W.SKILLS))
        self["skill"] = self.skill
        bad = {"river": "river", "hill": "hill", "mountain": "hill", "bridge": "bridge"}
        self.obst = r.sample([k for k in W.OBSTACLES if k != bad.get(p)], 2)
        if w == "snowy" and r.random() < 0.3:
            self.obst[0] = "snow"
        if w == "windy" and r.random() < 0.3:
            self.obst[0] = "wind"
        if w == "foggy" and r.random() < 0.3:
            self.obst[0] = "fog"
        if self.obst[0] == self.obst[1]:
            self.obst[1] = r.choice([k for k in W.OBSTACLES if k != self.obst[0] and k != bad.get(p)])
        self.wish = wish or r.choice(WISHES)
        self.met = False

    def __getitem__(self, k):
        if k == "H" or k == "Hc":
            s = self.name if self.name and self.r.random() < 0.8 else "the " + self["hero"]
            return cap(s) if k == "Hc" else s
        if k == "F" or k == "Fc":
            s = self.fname if self.fname and self.r.random() < 0.4 else "the " + self["helper"]
            return cap(s) if k == "Fc" else s
        return super().__getitem__(k)

    def say(self, *options):
        """One of the options, filled in."""
        t = options[0] if len(options) == 1 else self.r.choice(options)
        return t.format_map(self)

    def maybe(self, p, *options):
        return self.say(*options) if self.r.random() < p else ""


WISHES = ["lost", "go", "skill", "friend", "gift", "baby", "found", "storm"]


def opening(w):
    r = w.r
    if w.name:
        s = w.say(
            "Once upon a time there was {aadj} {hero} named " + w.name + " who lived {live}.",
            "Once there was {aadj} {hero} called " + w.name + ". {He} lived {live}.",
            "{live} there lived {aadj} {hero}. {His} name was " + w.name + ".",
            w.name + " was {aadj} {hero} who lived {live}.",
            "Long ago, {live}, there lived {aadj} {hero} named " + w.name + ".",
            "There once was {ahero} who lived {live}. {His} name was " + w.name + ", and {he} was very {adj}.",
        )
    else:
        s = w.say(
            "Once upon a time there was {aadj} {hero} who lived {live}.",
            "Once there was {aadj} {hero}. {He} lived {live}.",
            "Long ago, {live}, there lived {aadj} {hero}.",
            "There once was {ahero} who lived {live} and was very {adj}.",
            "{live} there lived {aadj} {hero}.",
        )
    return cap(s)


def daily(w):
    return w.say(
        "Every morning {he} ate some {food} and looked at the sky.",
        "{He} liked to sit in the sun and listen to the birds.",
        "{He} had a small house with a round door.",
        "{He} liked {food} more than anything else.",
        "In {season} {he} liked to walk {to} and back again.",
        "{He} was small, but {his} heart was big.",
        "Everyone there knew {him} and wished {him} well.",
        "{He} worked hard all day and slept well at night.",
        "At night {he} counted the stars until {he} fell asleep.",
        "{His} best friend was {athird}, who lived next door.",
    )


def when(w):
    """Sets the scene for the day on which things happen."""
    return w.say("One {wea} {time}", "One {wea} {time} in {season}", "Then came {wea_a} {time}, and".replace("{wea_a}", a(w["wea"])),
                 "One {time}", "On {wea_a} {time}".replace("{wea_a}", a(w["wea"])))


def join(when_, clause):
    """'One windy day' + 'the kite was gone.' with the right comma."""
    return when_ + (" " if when_.endswith("and") else ", ") + clause


def meet(w, why=True):
    w.met = True
    n = f" named {w.fname}" if w.fname else ""
    return w.say(
        "On the way {he} met {afadj} {helper}" + n + ".",
        "Soon {he} met {ahelper}" + n + ".",
        "Just then {afadj} {helper}" + n + " came down the path.",
        "{He} walked for a while and met {afadj} {helper}" + n + ".",
        "There, under a tree, sat {ahelper}" + n + ".",
        "{Ahelper}".replace("{Ahelper}", cap(w["ahelper"])) + n + " was sitting by the road.",
    )


def obstacle(w, i):
    trouble, advice, solved = W.OBSTACLES[w.obst[i]]
    t = w.say("But " + trouble + ".", "After a while " + trouble + ".", "But then they stopped, because " + trouble + ".",
              "Halfway there, " + trouble + ".")
    d = w.say(
        '"What shall we do now?" asked {H}. "' + advice + '," said {F}.',
        '"We will never get there," said {H}. "Yes, we will," said {F}. "' + advice + '."',
        '"I am afraid," said {H}. "Do not be afraid," said {F}. "' + advice + '."',
        '{Hc} wanted to turn back. "Wait," said {F}. "' + advice + '."',
        '{Hc} thought hard. "' + advice + '," said {F} at last.',
    )
    return [t, d, w.say(solved + ".", "So that is what they did. " + solved + ".")]


def feeling_bad(w):
    return w.say(
        "{Hc} was very sad.", "{Hc} sat down and cried a little.", "A tear ran down {his} nose.",
        "{Hc} did not know what to do.", "{Hc} felt small and alone.", "{His} heart was heavy.",
        "{Hc} sighed, but {he} did not give up.",
    )


def feeling_good(w):
    return w.say(
        "{Hc} was so happy that {he} jumped up and down.", "{Hc} laughed out loud.", "{Hc} smiled from ear to ear.",
        "{Hc} danced round and round.", "{His} heart was light again.", "{Hc} had never been so happy.",
        "{Hc} and {F} laughed and clapped.",
    )


def thanks(w):
    return w.say(
        '"Thank you, dear friend," said {H}. "You are welcome," said {F}.',
        '"I could not have done it without you," said {H}.',
        '"Thank you," said {H}, and {he} gave {F} some {food}.',
        '{Hc} thanked {F} again and again.',
        '"How can I thank you?" asked {H}. "Just be my friend," said {F}.',
        '"You are a true friend," said {H}.',
    )


def tail(w):
    """The very end; it may look back at the weather."""
    return w.say(
        "And that is the end of the tale.", "The end.", "From that day on they were the best of friends.",
        "And they were friends for the rest of their days.", "{wea1}", "{wea1} {Hc} slept well that night.",
        "And if you go {home_to}, you may still meet {him} there.", "And {H} never forgot that {wea} {time}.",
        "{wea1} And all was well.",
    )


def set_out(w):
    return w.say("So {H} and {F} set out together.", "They walked side by side.", "Off they went, one behind the other.",
                 "So the two of them went on together.", "Together they went on {to}.")


def t_lost(w, n):
    out = [w.say("{Hc} had {acobj}, and {he} took it everywhere.", "{Hc} loved one thing very much, and that was {his} {cobj}.",
                 "{His} greatest treasure was {acobj}.", "{Hc} had {acobj} from {his} grandmother."),
           join(when(w), w.say("the {cobj} was gone.", "{H} could not find the {cobj}.", "{he} looked for the {cobj}, but it was not there."))]
    if n > 0:
        out.append(w.maybe(0.6, "{wea0}"))
    out.append(w.say("{He} looked {spot1} and {spot2}, but the {obj} was nowhere.", "{He} looked {spot1}. {He} looked {spot2}. No {obj}.",
                     "{Hc} looked {spot1}, but there was only {aobj2}."))
    out.append(feeling_bad(w))
    out.append(meet(w))
    out.append(w.say('"Why are you so sad?" asked {F}. "I have lost my {cobj}," said {H}.',
                     '"Have you seen my {cobj}?" asked {H}. "No," said {F}, "but I will help you look for it."',
                     '"What are you looking for?" asked {F}. "My {cobj}," said {H}.'))
    out.append(w.say('"I saw something {col} {at}," said {F}.', '"Let us look {at}," said {F}. "Lost things like to hide there."',
                     '"Then let us go {to} and look there," said {F}.'))
    out.append(set_out(w))
    out += [x for i in range(n) for x in obstacle(w, i)]
    out.append(w.say("And there, {at}, lay the {cobj}, {lie}.", "When they came {to}, {sight}. And there, {lie}, was the {cobj}.",
                     '"Look!" cried {F}. There {at}, {lie}, was the {cobj}.'))
    out += [feeling_good(w), thanks(w)]
    out.append(w.say("That night {H} put the {cobj} next to {his} bed.", "Never again did {H} lose the {cobj}.",
                     "And from then on {H} took good care of the {obj}.", "{Hc} carried the {cobj} home and held it tight."))
    return out


def t_go(w, n):
    out = [w.say("More than anything, {H} wanted to go {to}.", "{Hc} had one wish. {He} wanted to see the {goal}.",
                 "{Hc} had heard many tales about the {goal}, but {he} had never been there.",
                 "Every night {H} dreamed of the {goal}."),
           join(when(w), w.say("{H} packed some {food} and set out.", "{he} said, \"Today I will go {to}.\"",
                               "{H} put some {food} in a bag and left home."))]
    out.append(w.maybe(0.6, "{wea0}"))
    out.append(meet(w))
    out.append(w.say('"Where are you going?" asked {F}. "{To}," said {H}. "May I come too?" asked {F}.'.replace("{To}", cap(w["to"])),
                     '"I want to go {to}, but I do not know the way," said {H}. "I know the way," said {F}.',
                     '"The {goal} is far away," said {F}, "but two can walk farther than one."'))
    out.append(set_out(w))
    out += [x for i in range(max(n, 1)) for x in obstacle(w, i)]
    out.append(w.say("At last they came {to}, and {sight}.", "And then they were there. {cs}.".replace("{cs}", cap(w["sight"])),
                     "When they reached the {goal}, {sight}."))
    out.append(w.say('"It is even better than in my dreams," said {H}.', '"How beautiful," said {H} softly.',
                     "{Hc} stood still and looked for a long time.", '"So this is the {goal}," said {H}.'))
    out += [feeling_good(w), w.say("They shared the {food} and watched the {time} go by.", "They ate the {food} and told each other tales.",
                                   "There they sat until the moon came up.")]
    out.append(w.say("Then {H} went home and told everyone about the {goal}.", "And whenever {H} closed {his} eyes, {he} could see the {goal} again.",
                     "{Hc} took home a little stone from the {goal} and kept it always."))
    return out


def t_skill(w, n):
    bad, advice, good = W.SKILLS[w.skill]
    out = [w.say("But there was one thing {H} could not do. {He} could not {skill}.", "{Hc} wanted to learn to {skill}.",
                 "More than anything, {H} wanted to {skill}.", "All the others could {skill}, but {H} could not."),
           join(when(w), w.say("{H} tried to {skill}. " + bad, "{he} tried and tried. " + bad, "{H} tried again. " + bad))]
    out.append(w.say("The {third} laughed at {him}.", '"Give up," said the {third}.', "{num_c} times {he} tried, and {num} times it went wrong.".replace("{num_c}", cap(w["num"])), "The {third} shook {his} head.".replace("{his}", "its")))
    out.append(feeling_bad(w))
    out.append(meet(w))
    out.append(w.say('"I want to {skill}, but I cannot," said {H}. "I will show you," said {F}. "' + advice + '"',
                     '"What is wrong?" asked {F}. "I cannot {skill}," said {H}. "' + advice + '" said {F}.',
                     '"Nobody can {skill} on the first day," said {F}. "' + advice + '"'))
    if n > 0:
        out.append(w.say("They went {to}, where nobody could see them.", "{Fc} took {him} {to} to practise."))
        out += [x for i in range(n - 1) for x in obstacle(w, i)]
        out.append(w.say("All day long they practised.", "They practised for {num} days.", "Again and again {he} tried."))
    out.append(w.say("Then it happened. " + good, "And this time it worked. " + good, good))
    out += [w.say('"I can {skill}!" cried {H}.', '"Look, I can do it!" cried {H}.', "Now {H} could {skill}."), feeling_good(w)]
    out.append(w.maybe(0.5, "Even the {third} was amazed.", '"Well done," said the {third}.'))
    out.append(thanks(w))
    out.append(w.say("Today {H} can {skill} better than anyone {live}.", "And every {time} you can see {him} {skill} {live}.",
                     "Later {H} taught the {third} to {skill} too."))
    return out


def t_friend(w, n):
    out = [w.say("{Hc} was often alone and wished for a friend.", "But {H} had nobody to play with.",
                 "{Hc} had everything but a friend.", "{Hc} had some {food}, but nobody to share it with."),
           join(when(w), w.say("{H} went {to} to look for a friend.", "{he} said, \"I will go {to} and find a friend.\"",
                               "{H} walked {to} all alone."))]
    out.append(w.maybe(0.6, "{wea0}"))
    out.append(w.say('{He} asked the {third}, "Will you be my friend?" "I have no time," said the {third}.',
                     'First {he} met {athird}. "Will you play with me?" asked {H}. "Not today," said the {third}.',
                     '"Go away," said the {third}. "I am busy."'))
    out.append(feeling_bad(w))
    n2 = f" named {w.fname}" if w.fname else ""
    out.append(w.say("Then {he} heard a small voice. It was {afadj} {helper}" + n2 + " who was stuck in the mud.",
                     "Then {he} saw {ahelper}" + n2 + " who was looking for {fhis} {cobj}.",
                     "Then {he} saw {afadj} {helper}" + n2 + " who was hungry and cold."))
    stuck = out[-1]
    if "mud" in stuck:
        out.append(w.say("{Hc} took a long stick and pulled {fhim} out.", '"Hold my hand," said {H}, and pulled with all {his} might.'))
    elif "looking" in stuck:
        out.append(w.say("{Hc} helped {fhim} look, and they found the {cobj} {lie}.", '"I will help you," said {H}. Soon they found the {cobj} {lie}.'))
    else:
        out.append(w.say("{Hc} gave {fhim} some {food} and a warm blanket.", '"Take my {food}," said {H}. "There is enough for two."'))
    if n > 0:
        out.append(w.say("Then they went on together.", '"Come home with me," said {H}.', "{Fc} wanted to go home, and {H} went with {fhim}."))
        out += [x for i in range(n) for x in obstacle(w, i)]
    out.append(w.say('"You are kind," said {F}. "Will you be my friend?"', '"Nobody ever helped me before," said {F}. "Let us be friends."',
                     '"Shall we play together tomorrow?" asked {F}.'))
    out += [feeling_good(w), w.say("They shared the {food} and talked until the stars came out.", "They played all day {at}.",
                                   "They sat together {at} and ate {food}.")]
    out.append(w.say("Now {H} was never alone again.", "And so {H} found a friend by being one.", "After that, they met {at} every {time}."))
    return out


def t_gift(w, n):
    n2 = f"{w.fname} the" if w.fname else "the"
    out = [w.say("{His} friend " + n2 + " {helper} had a birthday soon.", "{Hc} had a good friend, " + n2 + " {helper}."),
           w.say("{Hc} wanted to give {fhim} {acobj}.", '"I will give {fhim} {acobj}," thought {H}.', "{Fc} had always wished for {acobj}, and {H} knew it.")]
    out.append(join(when(w), w.say("{H} went {to} to find one.", "{he} set out {to}, where such things could be found.", "{H} took some {food} and went {to}.")))
    out.append(w.maybe(0.6, "{wea0}"))
    if n > 0:
        trouble, advice, solved = W.OBSTACLES[w.obst[0]]
        out.append("But " + trouble + ".")
        out.append(w.say('"' + advice + '," said {athird}.', 'Luckily {athird} came by. "' + advice + '," said the {third}.'))
        out.append(solved + ".")
    out.append(w.say("There {he} met " + a(w["third"]) + " who had {acobj}.", "There {he} saw {acobj}. It belonged to {athird}.") if n == 0 else
               w.say("There, {at}, lived the {third}, who had {acobj}.", "There {he} saw {acobj}. It belonged to the {third}.", '"I have {acobj} at home," said the {third}.'))
    out.append(w.say('"What will you give me for it?" asked the {third}. "All my {food}," said {H}.',
                     '"You may have it," said the {third}, "if you help me carry my {obj2} home." So {H} helped.',
                     '"I have no money," said {H}. "Then sing me a song," said the {third}. So {H} sang.'))
    if n > 1:
        out.append(w.say("Then {H} started for home with the {cobj}.", "{Hc} put the {cobj} in a bag and turned back."))
        trouble, advice, solved = W.OBSTACLES[w.obst[1]]
        out.append(w.say("On the way home " + trouble + ".", "But " + trouble + "."))
        out.append(w.say('"' + advice + '," said the {third}, who had come along.', "{Hc} nearly lost heart, but the {third} came running. \"" + advice + '," it said.'))
        out.append(solved + ".")
    out.append(w.say("{Hc} ran all the way home.", "{Hc} carried the {cobj} home with great care.", "In the evening {H} knocked at the door of {F}."))
    out.append(w.say('"This is for you," said {H}.', '"Happy birthday!" cried {H}, and held out the {cobj}.', "{Hc} put the {cobj} on the table and said nothing."))
    out.append(w.say("{Fc} could not believe {fhis} eyes.", '"A {cobj}!" cried {F}. "How did you know?"'.replace("A {cobj}", cap(w["acobj"])), "{Fc} was so glad that {fhe} cried a little."))
    out.append(w.say("They ate cake and sang until it was dark.", '"The best gift is a friend like you," said {F}.', "And {F} kept the {cobj} for the rest of {fhis} life.",
                     "The {cobj} still hangs over the bed of {F}."))
    return out


def t_baby(w, n):
    b = W.BABIES.get(w["helper"])
    w["little"] = b if b else "little " + w["helper"]
    w["alittle"] = a(w["little"])
    w.fname = None
    out = [join(when(w), w.say("{H} heard somebody crying.", "{H} was walking {to} when {he} heard a small cry.", "{he} heard a sad little voice.")),
           w.maybe(0.6, "{wea0}"),
           w.say("It was {alittle}, all alone.", "Under a bush sat {alittle}.", "{Hc} looked {spot2} and found {alittle}.".replace("{spot2}", "behind a stone")),
           w.say('"I have lost my mother," said the {little}.', '"I cannot find my way home," said the {little}.', '"I am lost," said the {little}, "and I want to go home."'),
           w.say('"Where do you live?" asked {H}. "{At_c}," said the {little}.'.replace("{At_c}", cap(w["at"])),
                 '"Do not cry," said {H}. "I will take you home. Where is it?" "{At_c}," said the {little}.'.replace("{At_c}", cap(w["at"]))),
           w.say("{Hc} gave the {little} some {food} and they set out.", "So {H} took the {little} by the hand, and they went {to}.", "They walked and walked.")]
    for i in range(max(n, 1)):
        trouble, advice, solved = W.OBSTACLES[w.obst[i]]
        out.append(w.say("But " + trouble + ".", "After a while " + trouble + "."))
        out.append(w.say('"I am afraid," said the {little}. "I am here," said {H}. "' + advice + '."', '"What now?" asked the {little}. "' + advice + '," said {H}.'))
        out.append(solved + ".")
    out.append(w.say("At last they came {to}, and {sight}.", "When they came {to}, somebody was waiting."))
    out.append(w.say('"My child!" cried the mother.', "There stood the mother of the {little}, and she was crying with joy.", "The mother ran to meet them."))
    out.append(w.say('"How can I thank you?" she asked. "It was nothing," said {H}.', "She gave {H} {acobj} to say thank you.", "She gave {H} so much {food} that {he} could hardly carry it."))
    gave = "gave {H}" in out[-1] or w["cobj"] in out[-1]
    w["helper"] = w["little"]
    out.append(feeling_good(w))
    if gave and w["cobj"] in out[-2]:
        out.append(w.say("And whenever {H} looked at the {cobj}, {he} thought of the {little}.", "The {cobj} has been {his} treasure ever since."))
    else:
        out.append(w.say("After that the {little} came to see {him} every {time}.", "And the {little} never got lost again.", "That night the {little} slept in its own bed, and {H} slept in {his}."))
    return out


def t_found(w, n):
    out = [join(when(w), w.say("{H} found {acobj} on the path.", "{H} was walking {to} when {he} saw {acobj} {lie}.", "{he} found {acobj} {lie}.")),
           w.maybe(0.5, "{wea0}"),
           w.say('"How pretty," said {H}. "But it is not mine."', '"Somebody must be looking for this," thought {H}.', "{Hc} wanted to keep it, but {he} knew that was wrong."),
           w.say('{He} asked the {third}, "Is this your {obj}?" "No," said the {third}, "I have {aobj2}, but no {obj}."',
                 '"Is this your {obj}?" {he} asked {athird}. "No," said the {third}. "Try {at}."')]
    if w.r.random() < 0.5:
        out.append(w.say("So {H} went on {to}.", "{Hc} went from door to door, but nobody knew the {obj}."))
    if n > 0:
        for i in range(n):
            trouble, advice, solved = W.OBSTACLES[w.obst[i]]
            out.append(w.say("But " + trouble + ".", "After a while " + trouble + "."))
            out.append(w.say('"' + advice + '," said the {third}, who had come along.', '"Shall we turn back?" asked {H}. "No," said the {third}, who had come along. "' + advice + '."'))
            out.append(solved + ".")
    n2 = f" named {w.fname}" if w.fname else ""
    out.append(w.say("There {he} met {ahelper}" + n2 + ", who looked very sad.", "In the end {he} came {to}, and there sat {ahelper}" + n2 + ", crying."))
    out.append(w.say('"I have lost my {cobj}," said {F}. "Here it is," said {H}.', '"Is this what you are looking for?" asked {H}, and held up the {cobj}.',
                     '"My {obj} is gone," said {F}. "Is it {col}?" asked {H}. "Yes," said {F}.'))
    out.append(w.say("{Fc} took the {obj} and danced for joy.", '"My {cobj}!" cried {F}. "Thank you!"', "{Fc} laughed and cried at the same time."))
    out.append(w.say('"You could have kept it," said {F}. "No," said {H}. "Then I would have a {obj}, but no friend."'.replace("a {obj}", a(w["obj"])),
                     '"You are honest," said {F}. "Come and eat with us."', "{Fc} gave {him} some {food} to say thank you."))
    out.append(w.say("{Hc} went home without the {obj}, but with a glad heart.", "And so {H} lost {acobj} and found a friend.", "Since that day they have shared the {cobj}.".replace("{acobj}", w["acobj"])))
    return out


def t_storm(w, n):
    n2 = f" named {w.fname}" if w.fname else ""
    out = [w.say("Next door lived {afadj} {helper}" + n2 + ".", "{His} neighbour was {afadj} {helper}" + n2 + "."),
           w.say("One night a great storm came over the land.", "One night in {season} a storm shook the house.", "Then, one night, the wind began to howl."),
           w.say("In the morning the roof of {F} was gone.", "When it was over, the house of {F} was broken.", "In the morning {F} had no roof and no door."),
           w.say('"Where shall I sleep now?" asked {F}.', '"Everything is gone," cried {F}. "Even my {cobj}."', "{Fc} sat in the wet grass and shook."),
           w.say('"Come and stay with me," said {H}. "We will build a new one."', '"I have two hands," said {H}. "I will help you."', "{Hc} did not think for long. {He} took {his} tools and went to help."),
           w.say("First they needed wood, so they went {to}.", "They went {to} to fetch wood and stones.")]
    out += [x for i in range(n) for x in obstacle(w, i)]
    out.append(w.say("They worked for {num} days.", "{Hc} sawed and {F} hammered.", "Even the {third} came and brought some {food}."))
    out.append(w.say("At last the new house stood there, with a {col} door.".replace("a {col}", a(w["col"])), "When it was done, the house was stronger than before.", "The new roof was {col}, and it kept out every drop of rain."))
    cob = any(w["cobj"] in x for x in out)
    out.append(w.say("And {lie} they found the {cobj}, safe and dry.", "{Fc} hung the {cobj} over the door for luck.") if cob else
               w.say('"It is better than the old one," said {F}.', "{Fc} walked in and smiled.", "{Fc} went from room to room and sang."))
    out += [feeling_good(w), thanks(w)]
    out.append(w.say("When the next storm came, they sat by the fire and ate {food}.", "No storm ever broke that house again.", "Since then nobody {live} is afraid of storms."))
    return out


PLOTS = dict(lost=t_lost, go=t_go, skill=t_skill, friend=t_friend, gift=t_gift, baby=t_baby, found=t_found, storm=t_storm)


def tale(w, size=None):
    """size 0: short, 1: middle, 2: long."""
    r = w.r
    if size is None:
        size = r.choices([0, 1, 2], [0.32, 0.43, 0.25])[0]
    head = [opening(w)]
    if size > 0:
        head.append(daily(w))
        if size > 1:
            d = daily(w)
            if d != head[-1]:
                head.append(d)
    body = [s for s in PLOTS[w.wish](w, size) if s]
    if size == 0:
        body = trim(r, body)
    end = [] if size == 0 and r.random() < 0.4 else [tail(w)]
    if end and end[0] == "The end." and r.random() < 0.5:
        end = [tail(w)]
    if size == 2 or (size == 1 and r.random() < 0.3):
        k = max(2, len(body) * 2 // 5)
        return "\n\n".join([" ".join(head), " ".join(body[:k]), " ".join(body[k:] + end)])
    return " ".join(head + body + end)


def trim(r, body):
    """A short tale leaves out one or two sentences that nothing leans on."""
    soft = [i for i, s in enumerate(body) if any(m in s for m in (" was very sad.", "did not give up", "heart was heavy", "small and alone", "nose.", "know what to do", "laughed out loud", "jumped up and down", "ear to ear", "round and round."))]
    drop = set(soft[:2])
    return [s for i, s in enumerate(body) if i not in drop]


# ---------------------------------------------------------------- poems

RHYMES = [("hill", "still"), ("day", "away"), ("night", "light"), ("tree", "sea"), ("sun", "run"), ("sky", "fly"), ("moon", "soon"), ("rain", "again")]
LINE1 = {
    "hill": "The {adj} {hero} climbed a hill,", "day": "The {adj} {hero} walked all day,", "night": "The {adj} {hero} woke at night,",
    "tree": "The {adj} {hero} slept under a tree,", "sun": "The {adj} {hero} sat in the sun,", "sky": "The {adj} {hero} looked at the sky,",
    "moon": "The {adj} {hero} sang to the moon,", "rain": "The {adj} {hero} ran in the rain,",
}
LINE2 = {
    "still": ["And all the world was still.", "And the wind was very still."], "away": ["And home was far away.", "And all the clouds flew away."],
    "light": ["And saw a little light.", "And the stars were big and bright with light."], "sea": ["And dreamed about the sea.", "And heard the song of the sea."],
    "run": ["And then began to run.", "And watched the rivers run."], "fly": ["And wished that {he} could fly.", "And saw the birds go by and fly."],
    "soon": ["And hoped to see it soon.", "And said that spring would come soon."], "again": ["And then came home again.", "And laughed and ran again."],
}


def poem(w):
    (a1, a2), (b1, b2) = w.r.sample(RHYMES, 2)
    lines = [w.say(LINE1[a1]), w.say(*LINE2[a2]), w.say(LINE1[b1]).replace("The " + w["adj"] + " " + w["hero"], cap(w["he"])), w.say(*LINE2[b2])]
    return "\n".join(lines)


# ---------------------------------------------------------------- chats

SYSTEMS = ["You are a helpful assistant.", "You are a friendly story teller.", "You tell short tales.", "Be kind and brief.",
           "You are a very small language model.", "Answer in simple words.", "Answer briefly.", "You are a helpful assistant. Answer in one sentence.",
           "You are talking to a child.", "You are an assistant that runs on an emulated card.", "Be helpful, honest and short.", "Tell the truth."]

WHO = ["I am a very small language model running inside an emulated card.",
       "I am a very small language model. I run inside an emulated card.",
       "I am a tiny language model that lives inside an emulated card."]
CAN = ["I can tell short tales and answer simple questions.", "I can tell you a tale, count, and name a few colours.", "Ask me for a tale about an animal."]


def who(r):
    q, ans = r.choice([
        (["What is this?", "What am I talking to?", "What is this thing?", "What is running here?"],
         ["This is a very small language model running inside an emulated card.", "This is an emulated card, and I am the very small language model inside it."]),
        (["Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.", "What kind of model are you?", "Which model is this?", "Are you an AI?", "Are you a language model?"], WHO),
        (["What is your name?", "Do you have a name?", "What are you called?"], ["I have no name. " + WHO[0], "I have no real name. I am only a very small language model."]),
        (["Are you human?", "Are you a person?", "Are you real?", "Are you a robot?", "Are you alive?"], ["No. " + WHO[0], "No, I am only a very small language model."]),
        (["What can you do?", "How can you help me?", "What do you know?", "Help.", "Help me.", "What should I ask you?"], CAN + [WHO[0] + " " + CAN[0]]),
        (["How big are you?", "Are you big?", "How many parameters do you have?", "Are you smart?", "Are you clever?"],
         ["I am very small. I have about a third of a million parameters.", "I am very small, so I know only a little."]),
        (["Who made you?", "Where do you come from?", "How were you trained?", "What were you trained on?"],
         ["I was trained on small tales made by a program.", "I come from a small program that makes tales and questions."]),
        (["How fast are you?", "Are you fast?", "Where are you?", "Where do you live?", "Where do you run?"],
         ["I run inside an emulated card. A real card would be made of silicon.", "I live inside an emulated card."]),
        (["What is hc1?", "What is an emulated card?", "What is a card?", "Is this a real card?"],
         ["It is a card that runs a language model. This one is emulated.", "This is an emulated card, made of software and not of silicon."]),
        (["Can you think?", "Do you dream?", "Are you happy?", "Do you have feelings?"],
         ["I am only a very small language model, so I have no feelings.", "No, I only choose one word after another."]),
    ])
    return r.choice(q), r.choice(ans)


def greet(r):
    q, ans = r.choice([
        (["Hello.", "Hello!", "Hi.", "Hi!", "Hey.", "Hello there.", "Hi there!", "Good day."], ["Hello! How can I help you?", "Hello! Would you like to hear a tale?", "Hello there! Ask me for a tale."]),
        (["Good morning.", "Good morning!"], ["Good morning! Would you like to hear a tale?", "Good morning! How can I help you?"]),
        (["Good evening.", "Good night.", "Good night!"], ["Good night! Sleep well.", "Good night! Sweet dreams."]),
        (["How are you?", "How are you today?", "How do you do?", "Are you well?"], ["I am well, thank you. How are you?", "I am fine, thank you."]),
        (["Thank you.", "Thanks!", "Thank you very much.", "Thanks a lot."], ["You are welcome.", "You are welcome! Would you like another tale?"]),
        (["Goodbye.", "Bye!", "See you later.", "Bye bye."], ["Goodbye! Come back soon.", "Goodbye, and good luck!"]),
        (["Test.", "This is a test.", "Testing.", "Are you there?", "Ping."], ["Yes, I am here.", "I am here. How can I help you?"]),
        (["Good.", "Nice.", "Ok.", "Great!", "Very good.", "Well done."], ["Thank you! Would you like to hear a tale?", "I am glad to hear that."]),
        (["Yes.", "Yes, please.", "Sure.", "No.", "No, thank you.", "Why?", "Please."], ["Please ask me for a tale, or ask me a simple question."]),
    ])
    return r.choice(q), r.choice(ans)


def colour(r):
    t, c = r.choice(W.COLOUR_OF)
    q = r.choice(["What colour is {t}?", "What color is {t}?", "Which colour is {t}?", "Tell me the colour of {t}.", "What is the colour of {t}?", "Do you know what colour {t} is?"])
    T = cap(t)
    return q.format(t=t), r.choice(["{T} is {c}.", "{T} is {c}."]).format(T=T, c=c)


def numbers(r):
    k = r.randrange(6)
    n = W.NUM
    if k == 0:
        b = r.choice([3, 4, 5, 5, 6, 7, 8, 9, 10, 10, 10])
        q = r.choice(["Count to {b}.", "Can you count to {b}?", "Please count from one to {b}.", "Count from 1 to {d}.", "Count to {d}."]).format(b=n[b], d=b)
        return q, cap(", ".join(n[1:b + 1])) + "."
    if k == 1:
        s = r.randrange(1, 8)
        e = r.randrange(s + 2, min(s + 8, 13))
        return f"Count from {n[s]} to {n[e]}.", cap(", ".join(n[s:e + 1])) + "."
    if k == 2:
        e = r.randrange(3, 11)
        return r.choice(["Count down from {e}.", "Count backwards from {e}."]).format(e=n[e]), cap(", ".join(n[e:0:-1])) + "."
    if k == 3:
        s = r.randrange(1, 20)
        if r.random() < 0.5 or s == 1:
            return r.choice([f"What comes after {n[s]}?", f"What number comes after {n[s]}?"]), f"After {n[s]} comes {n[s + 1]}."
        return r.choice([f"What comes before {n[s]}?", f"What number comes before {n[s]}?"]), f"Before {n[s]} comes {n[s - 1]}."
    x, y = r.randrange(0, 11), r.randrange(0, 11)
    if k == 4:
        q = r.choice(["What is {a} plus {b}?", "What is {a} and {b}?", "How much is {a} plus {b}?", "What is {c} + {d}?", "{c} + {d}", "{c}+{d}=?", "What is {c} plus {d}?"])
        return q.format(a=n[x], b=n[y], c=x, d=y), f"{cap(n[x])} plus {n[y]} is {n[x + y]}."
    x, y = max(x, y), min(x, y)
    q = r.choice(["What is {a} minus {b}?", "How much is {a} minus {b}?", "What is {c} - {d}?", "{c} - {d}"])
    return q.format(a=n[x], b=n[y], c=x, d=y), f"{cap(n[x])} minus {n[y]} is {n[x - y]}."


def opposite(r):
    x, y = r.choice(W.OPPOSITES)
    if x not in ("old", "white", "easy", "hard", "light") and y not in ("old", "hard", "light") and r.random() < 0.4:
        x, y = y, x
    q = r.choice(["What is the opposite of {x}?", "What is the opposite of '{x}'?", "Tell me the opposite of {x}.", "Opposite of {x}?", "Name the opposite of {x}."])
    return q.format(x=x), f"The opposite of {x} is {y}."


# Words that carry the facts of a tale. Early in training they weigh more: the
# turns of phrase are learnt soon, remembering who and what is the hard part.
FACTS = set(W.HEROES) | set(W.PLACES) | set(W.OBJECTS) | set(W.COLOURS) | set(W.FOODS) | set(W.BOYS) | set(W.GIRLS) | set(W.BABIES.values())

PL_NOUNS = W.HEROES + list(W.PLACES) + W.OBJECTS + ["foot", "tooth", "man", "woman", "goose", "leaf", "knife", "ox", "person", "tree", "house", "apple", "berry", "day", "friend", "tale"]


def plurals(r):
    x = r.choice(PL_NOUNS)
    q = r.choice(["What is the plural of {x}?", "What is the plural of '{x}'?", "Plural of {x}?", "Tell me the plural of {x}.", "One {x}, two what?"])
    return q.format(x=x), r.choice([f"The plural of {x} is {plural(x)}.", f"One {x}, two {plural(x)}."])


def animal_fact(r):
    k = r.randrange(6)
    if k == 0:
        x = r.choice(list(W.SOUNDS))
        return r.choice(["What does {x} say?", "What sound does {x} make?"]).format(x=a(x)), f"{cap(a(x))} says {W.SOUNDS[x]}."
    if k == 1:
        x = r.choice(list(W.BABIES))
        return r.choice([f"What is a baby {x} called?", f"What do you call a young {x}?"]), f"A baby {x} is called {a(W.BABIES[x])}."
    if k == 2:
        x = r.choice(list(W.LIVES))
        return r.choice([f"Where does {a(x)} live?", f"Where do {plural(x)} live?"]), f"{cap(a(x))} lives {W.LIVES[x]}."
    if k == 3:
        x = r.choice(list(W.EATS))
        return r.choice([f"What does {a(x)} eat?", f"What do {plural(x)} eat?"]), f"{cap(a(x))} eats {W.EATS[x]}."
    if k == 4:
        x = r.choice(list(W.LEGS))
        return f"How many legs does {a(x)} have?", f"{cap(a(x))} has {W.LEGS[x]} legs."
    x = r.choice([x for x in W.LIVES if x in W.EATS])
    s = f"{cap(a(x))} lives {W.LIVES[x]}. It eats {W.EATS[x]}."
    if x in W.BABIES:
        s += f" A baby {x} is called {a(W.BABIES[x])}."
    return r.choice([f"Describe {a(x)}.", f"What is {a(x)}?", f"What do you know about {plural(x)}?", f"Tell me something about {plural(x)}."]), s


def calendar(r):
    k = r.randrange(5)
    if k == 0:
        i = r.randrange(7)
        return r.choice([f"What day comes after {W.DAYS[i]}?", f"Which day is after {W.DAYS[i]}?"]), f"After {W.DAYS[i]} comes {W.DAYS[(i + 1) % 7]}."
    if k == 1:
        i = r.randrange(12)
        return r.choice([f"What month comes after {W.MONTHS[i]}?", f"Which month is after {W.MONTHS[i]}?"]), f"After {W.MONTHS[i]} comes {W.MONTHS[(i + 1) % 12]}."
    if k == 2:
        return r.choice(["Name the days of the week.", "What are the days of the week?"]), ", ".join(W.DAYS[:6]) + " and Sunday."
    if k == 3:
        return r.choice(["Name the seasons.", "What are the four seasons?", "How many seasons are there?"]), "There are four seasons: spring, summer, autumn and winter."
    return r.choice(["How many days are in a week?", "How many days does a week have?"]), "A week has seven days."


def name_chat(r):
    n = r.choice(W.BOYS + W.GIRLS)
    return r.choice(["My name is {n}.", "I am {n}.", "Hello, my name is {n}.", "Hi, I am {n}."]).format(n=n), r.choice([f"Hello, {n}! It is nice to meet you.", f"Hello, {n}! How can I help you?"]), n


def recall(r):
    """A question about what was said a moment ago. Besides being useful, these
    short texts teach the network to look back, which the tales then need."""
    k = r.randrange(7)
    h1, h2, h3 = r.sample(W.HEROES, 3)
    n1, n2 = r.sample(W.BOYS + W.GIRLS, 2)
    o1, o2 = r.sample(W.OBJECTS, 2)
    c1, c2 = r.sample(W.COLOURS, 2)
    p1, p2 = (W.PLACES[x][0] for x in r.sample(list(W.PLACES), 2))
    f1, f2 = r.sample(W.FOODS, 2)
    if k == 0:
        x = r.choice([h1, n1, o1, f"{h1}, {h2}", f"{h1}, {h2}, {h3}", f"{c1} {o1}", f"{n1} and {n2}", f"{h1} and {h2}", f"{c1}, {c2}", f"the {c1} {o1}"])
        return r.choice([f"Say {x}.", f"Repeat {x}.", f"Repeat after me: {x}.", f"Please say {x}."]), r.choice([f"You said {x}.", f"I say {x}."])
    if k == 1:
        return r.choice([f"My {h1} is called {n1}. What is my {h1} called?", f"I have {a(h1)} named {n1}. What is the name of my {h1}?"]), f"Your {h1} is called {n1}."
    if k == 2:
        t, q, ans = f"The {h1} has {a(c1)} {o1} and the {h2} has {a(c2)} {o2}.", *r.choice([
            (f"Who has the {o1}?", f"The {h1} has the {o1}."), (f"Who has the {o2}?", f"The {h2} has the {o2}."),
            (f"What colour is the {o1}?", f"The {o1} is {c1}."), (f"What colour is the {o2}?", f"The {o2} is {c2}."),
            (f"What does the {h1} have?", f"The {h1} has {a(c1)} {o1}."), (f"What does the {h2} have?", f"The {h2} has {a(c2)} {o2}.")])
    elif k == 3:
        t, q, ans = f"{n1} is {a(h1)} and {n2} is {a(h2)}.", *r.choice([
            (f"What is {n1}?", f"{n1} is {a(h1)}."), (f"What is {n2}?", f"{n2} is {a(h2)}."),
            (f"Who is the {h1}?", f"The {h1} is {n1}."), (f"What is the {h2} called?", f"The {h2} is called {n2}.")])
    elif k == 4:
        t, q, ans = f"The {h1} lives {p1}. The {h2} lives {p2}.", *r.choice([
            (f"Where does the {h1} live?", f"The {h1} lives {p1}."), (f"Where does the {h2} live?", f"The {h2} lives {p2}."),
            (f"Who lives {p1}?", f"The {h1} lives {p1}."), (f"Who lives {p2}?", f"The {h2} lives {p2}.")])
    elif k == 5:
        t, q, ans = f"{n1} the {h1} likes {f1}. {n2} the {h2} likes {f2}.", *r.choice([
            (f"What does {n1} like?", f"{n1} likes {f1}."), (f"What does the {h2} like?", f"The {h2} likes {f2}."),
            (f"Who likes {f1}?", f"{n1} the {h1} likes {f1}."), (f"Who likes {f2}?", f"{n2} the {h2} likes {f2}.")])
    else:
        t, q, ans = f"{n1} gave {n2} {a(c1)} {o1}.", *r.choice([
            (f"Who has the {o1} now?", f"{n2} has the {o1} now."), (f"What colour is the {o1}?", f"The {o1} is {c1}."),
            (f"Who gave {n2} the {o1}?", f"{n1} gave {n2} the {o1}."), (f"What did {n1} give {n2}?", f"{n1} gave {n2} {a(c1)} {o1}.")])
    return t + " " + q, ans


LETTERS = "abcdefghijklmnopqrstuvwxyz"
ODD = ["äöüßéèêñçøåœ", "абвгдежзийклмнопрстуфхцчшщыэюя", "αβγδεζηθικλμνξοπρστυφχψω", "日本語中文字何私你好的是在", "한국어안녕", "🙂🎉🚀❤🔥✨", "؟العربية", "→€£©°½§±×"]


def gibberish(r):
    t = r.random()
    if t < 0.5:
        return " ".join("".join(r.choice(LETTERS) for _ in range(r.randrange(2, 9))) for _ in range(r.randrange(1, 5)))
    if t < 0.75:
        s = r.choice(ODD)
        return " ".join("".join(r.choice(s) for _ in range(r.randrange(1, 8))) for _ in range(r.randrange(1, 4)))
    return "".join(r.choice("0123456789!@#$%^&*()_+-=[]{};:',.<>/?|~`ABCDEFGHIJKLMNOPQRSTUVWXYZ \t\n") for _ in range(r.randrange(2, 16))).strip() or "?"


DUNNO = ["I do not know that yet.", "I am sorry, I do not know that yet.", "I do not know that yet. I can tell you a tale.", "I do not know that yet. Would you like to hear a tale?"]


def unk_noun(r, held):
    known = KNOWN
    while True:
        u = r.choice(W.UNKNOWN_HELD if held else W.UNKNOWN_TRAIN)
        if u not in known:
            return u


KNOWN = set(W.HEROES) | set(W.PLACES) | set(W.OBJECTS) | set(W.SEASONS) | set(W.WEATHER_NOUN.values()) | {"night", "winter", "black", "star", "love"}


def unknown(r, held):
    if r.random() < 0.2:
        return gibberish(r), r.choice(DUNNO)
    L = W.LANDS_HELD if held else W.LANDS_TRAIN
    q = r.choice(W.UNKNOWN_Q).format(Place=r.choice(L), Place2=r.choice(L), topic=r.choice(W.TOPICS_HELD if held else W.TOPICS_TRAIN), u=unk_noun(r, held),
                                     num=r.choice([r.randrange(2, 100), r.randrange(1000, 2030)]))
    return q, r.choice(DUNNO)


ASK = ["Tell me a story about {x}.", "Tell me a story about {x}.", "Tell me a tale about {x}.", "Write a story about {x}.", "Write a short tale about {x}.",
       "Tell a story about {x}.", "Can you tell me a story about {x}?", "Please tell me a story about {x}.", "I want to hear a story about {x}.",
       "Give me a story about {x}.", "Write me a story about {x}.", "A story about {x}, please.", "Make up a story about {x}.", "Story about {x}",
       "Could you write a tale about {x}?", "Write about {x}.", "Tell me about {x}."]
ASK_SHORT = ["Tell me a short story about {x}.", "Write a short story about {x}.", "Tell me a very short tale about {x}.", "A short tale about {x}, please.", "Write a few sentences about {x}."]
ASK_LONG = ["Tell me a long story about {x}.", "Write a long story about {x}.", "Tell me a long tale about {x}.", "I would like a long story about {x}."]
ASK_ANY = ["Tell me a story.", "Tell me a tale.", "Write a story.", "Tell me something.", "Can you tell me a story?", "I am bored.", "Tell me a bedtime story.", "Once upon a time",
           "Please tell me a story.", "Write a tale.", "Another story, please.", "Tell me another story.", "Do you know a story?", "Surprise me."]


def messy(r, q):
    """People do not always write with care."""
    t = r.random()
    if t < 0.12:
        q = q.lower()
    elif t < 0.24:
        q = q.rstrip(".?!")
    elif t < 0.36:
        q = q.lower().rstrip(".?!")
    elif t < 0.39:
        q = q.rstrip(".?!") + "!"
    elif t < 0.41:
        q = q.upper()
    return q


def ask_tale(r, held):
    """(prompt, answer, world)"""
    t = r.random()
    if t < 0.1:
        w = World(r, held)
        return r.choice(ASK_ANY), tale(w), w
    if t < 0.18:
        u = unk_noun(r, held)
        w = World(r, held)
        x = r.choice([a(u), a(u), "the " + u, plural(u), r.choice(W.HERO_ADJ) and a(r.choice(W.HERO_ADJ) + " " + u)])
        s = r.choice(["I do not know a tale about that yet, but here is one about {ahero}.", "I do not know that word yet. Here is a tale about {ahero}."]).format_map(w)
        return r.choice(ASK).format(x=x), s + " " + tale(w, r.choice([0, 1])), w
    if t < 0.26:
        w = World(r, held)
        return r.choice(["Write a poem about {x}.", "Tell me a poem about {x}.", "Write a short poem about {x}.", "A poem about {x}, please."]).format(x=w["ahero"]), poem(w), w
    k = r.randrange(13)
    if k <= 3:
        w = World(r, held)
        x = w["ahero"] if k < 3 else r.choice([w["aadj"] + " " + w["hero"], "the " + w["hero"]])
    elif k == 4 or k == 5:
        w = World(r, held)
        x = w["ahero"] + " and " + r.choice(["a ", "the "]) + w["place"]
        x = x.replace(" a island", " an island")
        if w["place"] == "sea":
            x = x.replace("a sea", "the sea")
    elif k == 6:
        w = World(r, held, wish=r.choice(["lost", "gift", "found"]))
        x = w["ahero"] + " and " + a(w["obj"]) if r.random() < 0.6 else w["ahero"] + " and " + w["acobj"]
    elif k == 7:
        w = World(r, held, wish=r.choice([q for q in WISHES if q != "baby"]))
        x = w["ahero"] + " and " + w["ahelper"]
    elif k == 8:
        w = World(r, held)
        if not w.name:
            w.name = r.choice(W.GIRLS if w["he"] == "she" else W.BOYS)
        x = r.choice([w["ahero"] + " named " + w.name, w["ahero"] + " called " + w.name, w.name + " the " + w["hero"]])
    elif k == 9:
        w = World(r, held, wish="skill")
        x = w["ahero"] + r.choice([" who wants to ", " who cannot ", " who learns to "]) + w["skill"]
    elif k == 10:
        w = World(r, held, wish=r.choice(["lost", "go", "friend", "gift", "found"]))
        x = w["ahero"] + r.choice([" and the ", " in the "]) + W.WEATHER_NOUN[w["wea"]]
        if W.WEATHER_NOUN[w["wea"]] == "summer":
            w["season"] = "summer"
    elif k == 11:
        t2 = r.random()
        if t2 < 0.4:
            w = World(r, held)
            x = r.choice(["the ", "a "]) + w["place"]
            x = a(w["place"]) if x.startswith("a ") else x
        elif t2 < 0.8:
            w = World(r, held, wish=r.choice(["lost", "gift", "found"]))
            x = r.choice([a(w["obj"]), w["acobj"], "the " + w["obj"]])
        else:
            w = World(r, held, wish=r.choice(["friend", "friend", "found"]))
            x = "friendship" if w.wish == "friend" else "being honest"
    else:
        w = World(r, held, name=r.choice(W.BOYS + W.GIRLS), hero=None)
        if w["hero"] in W.GENDER:
            w = World(r, held, name=r.choice(W.BOYS if W.GENDER[w["hero"]] == "he" else W.GIRLS), hero=w["hero"])
        x = w.name
    t = r.random()
    if t < 0.15:
        return r.choice(ASK_SHORT).format(x=x), tale(w, 0), w
    if t < 0.27:
        return r.choice(ASK_LONG).format(x=x), tale(w, 2), w
    return r.choice(ASK).format(x=x), tale(w), w


def short_qa(r, held):
    f = r.choices([who, greet, colour, numbers, opposite, plurals, animal_fact, calendar, recall, None], [16, 12, 10, 16, 12, 10, 16, 6, 60, 22])[0]
    if f is None:
        return unknown(r, held)
    return f(r)


def chat(turns, system=None):
    d = [("bos", "")]
    if system is not None:
        d += [("hdr", "system"), ("ask", system), ("eot", "")]
    for q, ans in turns:
        d += [("hdr", "user"), ("ask", q), ("eot", ""), ("hdr", "assistant"), ("say", ans), ("eot", "")]
    return d


def document(r, held=False):
    t = r.random()
    if t < 0.13:
        return [("bos", ""), ("say", tale(World(r, held))), ("eos", "")]
    system = None
    if r.random() < 0.35:
        system = r.choice(SYSTEMS)
        if r.random() < 0.1:
            system = unknown(r, held)[0]
    if t < 0.50:
        q, ans, _ = ask_tale(r, held)
        return chat([(messy(r, q), ans)], system)
    if t < 0.82:
        q, ans = short_qa(r, held)
        return chat([(messy(r, q), ans)], system)
    # several turns
    k = r.randrange(5)
    turns = []
    if k == 0:
        q, ans, n = name_chat(r)
        turns = [(messy(r, q) if r.random() < 0.3 else q, ans)]
        if r.random() < 0.4:
            turns.append(short_qa(r, held))
        turns.append((r.choice(["What is my name?", "Who am I?", "Do you know my name?"]), f"Your name is {n}."))
    elif k == 1:
        q, ans, w = ask_tale(r, held)
        while len(ans) > 900:
            q, ans, w = ask_tale(r, held)
        turns = [(messy(r, q), ans)]
        x = r.random()
        if x < 0.25 and w["live"] in ans:
            turns.append((r.choice([f"Where did the {w['hero']} live?", "Where was that?"]), f"The {w['hero']} lived {w['live']}."))
        elif x < 0.6:
            turns.append((r.choice(["Who was in the story?", "Who was the story about?", "Who was that about?"]),
                          f"The story was about {w['ahero']}" + (f" named {w.name}." if w.name and w.name in ans else ".")))
        else:
            turns.append((r.choice(["Thank you.", "Thanks!", "Nice story.", "I liked it.", "That was nice."]), r.choice(["You are welcome.", "I am glad you liked it.", "You are welcome! Would you like another tale?"])))
    elif k == 2:
        q, ans = greet(r)
        q2, a2, _ = ask_tale(r, held)
        turns = [(messy(r, q), ans), (messy(r, q2), a2)]
    elif k == 3:
        for _ in range(r.choice([2, 2, 3, 4])):
            q, ans = short_qa(r, held)
            turns.append((messy(r, q), ans))
    else:
        q, ans, w = ask_tale(r, held)
        q2, a2, w2 = ask_tale(r, held)
        while len(ans) + len(a2) > 1500 or w2["hero"] == w["hero"]:
            q, ans, w = ask_tale(r, held)
            q2, a2, w2 = ask_tale(r, held)
        turns = [(messy(r, q), ans), (messy(r, q2), a2)]
    return chat(turns, system)


def documents(seed, n, held=False):
    r = random.Random(seed)
    for _ in range(n):
        yield document(r, held)


def plain(doc):
    """A document as one string, for reading."""
    m = dict(bos="", eot="<|eot_id|>\n", eos="<|end_of_text|>\n")
    return "".join(m[k] if k in m else f"[{t}] " if k == "hdr" else t for k, t in doc)


if __name__ == "__main__":
    import sys
    for d in documents(int(sys.argv[1]) if len(sys.argv) > 1 else 1, int(sys.argv[2]) if len(sys.argv) > 2 else 20):
        print(plain(d))
