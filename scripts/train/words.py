# SPDX-License-Identifier: Apache-2.0
"""Word tables for the tale and question generator (corpus.py).

Everything here was written for this project. The tables decide what the
model can know: a word that is not here is a word it will never have seen.
"""

ANIMALS = """fox bear rabbit mouse owl cat dog duck hen frog hedgehog squirrel badger otter goat
sheep pony cow pig turtle crow wolf deer snail donkey lion tiger elephant monkey penguin bird horse
dragon bee""".split()
PEOPLE = """girl boy baker farmer sailor king queen robot knight princess""".split()
GENDER = dict(girl="she", boy="he", king="he", queen="she", princess="she", hen="she",
              cow="she", robot="it", bee="she")
HEROES = ANIMALS + PEOPLE
HELPERS = [a for a in ANIMALS if a != "dragon"] + ["baker", "farmer", "sailor", "girl", "boy"]

BOYS = """Bram Tom Finn Ben Hugo Max Leo Sam Pip Jack Otto Milo Toby Ned""".split()
GIRLS = """Mia Lily Nora Ella Rosa Tilly Anna Luna Ruby Greta Hazel Dora Clara Kate""".split()

HERO_ADJ = """little small brave kind clever shy quiet curious gentle young old merry sleepy happy
careful patient cheerful""".split()

# noun: (where one is, where one goes, what one sees on arriving)
PLACES = {
    "river": ("by the river", "to the river", "the water sang over the stones"),
    "forest": ("in the forest", "to the forest", "the tall trees whispered"),
    "hill": ("on the hill", "to the hill", "the whole land lay below like a map"),
    "meadow": ("in the meadow", "to the meadow", "the flowers nodded in the sun"),
    "lake": ("by the lake", "to the lake", "the water was as flat as glass"),
    "village": ("in the village", "to the village", "smoke rose from every chimney"),
    "garden": ("in the garden", "to the garden", "the roses smelled sweet"),
    "farm": ("on the farm", "to the farm", "the hay was warm and dry"),
    "bridge": ("under the bridge", "to the bridge", "the stones were cool and green"),
    "cave": ("in the cave", "to the cave", "every sound came back twice"),
    "beach": ("on the beach", "to the beach", "the sand was soft and white"),
    "island": ("on the island", "to the island", "the waves came in from every side"),
    "mountain": ("on the mountain", "to the mountain", "the air was thin and clear"),
    "pond": ("by the pond", "to the pond", "the lilies were open"),
    "castle": ("in the castle", "to the castle", "the flags moved in the wind"),
    "town": ("in the town", "to the town", "the streets were full of voices"),
    "market": ("near the market", "to the market", "the tables were full of apples and bread"),
    "lighthouse": ("in the lighthouse", "to the lighthouse", "the great light went round and round"),
    "sea": ("by the sea", "to the sea", "the waves rolled in, one after another"),
    "tree": ("in the old tree", "to the old tree", "the leaves were green and gold"),
}

OBJECTS = """kite drum lamp key bell hat boat ball book basket cup coin flute map ring rope stone spoon clock
feather flower star""".split()
COLOURS = "red blue green yellow white black brown golden silver orange grey pink".split()

FOODS = ["bread", "soup", "honey", "cake", "cheese", "pie", "pears", "berries", "apples", "nuts", "plums",
         "carrots"]

# adjective: (what it was like at the start, what it was like at the end)
WEATHER = {
    "sunny": ("The sun was bright and the sky was blue.", "The sun went down slowly behind the trees."),
    "windy": ("The wind pulled at every leaf.", "The wind had gone to sleep at last."),
    "rainy": ("Rain fell on the roof and made small rivers on the path.", "The rain had stopped, and the air smelled fresh."),
    "snowy": ("Snow lay over everything, white and deep.", "The snow shone in the light of the moon."),
    "foggy": ("The fog was so thick that the trees looked like ghosts.", "The fog was gone, and the stars came out."),
    "cold": ("The grass was stiff with frost.", "It was still cold outside, but not in the heart."),
    "warm": ("The air was soft and smelled of flowers.", "The warm air was full of little songs."),
    "stormy": ("Thunder rolled over the land and the clouds were dark.", "The storm was over, and the sky was clear."),
    "cloudy": ("Grey clouds hung low over the land.", "The clouds had moved on, and the moon looked down."),
}
SEASON_OF = dict(sunny="spring summer autumn", windy="spring autumn winter", rainy="spring summer autumn", snowy="winter",
                 foggy="autumn winter", cold="winter", warm="spring summer", stormy="summer autumn winter",
                 cloudy="spring summer autumn winter")
WEATHER_NOUN = dict(sunny="sun", windy="wind", rainy="rain", snowy="snow", foggy="fog", stormy="storm",
                    cloudy="clouds", cold="cold", warm="summer")
TIMES = ["morning", "afternoon", "evening", "day"]
SEASONS = ["spring", "summer", "autumn", "winter"]

# base: (what goes wrong, advice, how it goes right)
SKILLS = {
    "swim": ("{He} jumped in, made a big splash and came out wet and cold.",
             "Do not fight the water. Lie on it like a leaf.",
             "{He} lay on the water like a leaf, kicked once, and swam."),
    "sing": ("Only a squeak came out.",
             "Take a deep breath and think of something you love.",
             "{He} took a deep breath, and a clear song came out."),
    "dance": ("{He} stepped on {his} own feet and fell over.",
              "Listen first. The music will tell your feet where to go.",
              "{He} listened, and then {his} feet began to dance."),
    "climb": ("{He} slid down again and again.",
              "Look up, not down, and take one small step at a time.",
              "One small step at a time, {he} climbed to the very top."),
    "whistle": ("{He} blew and blew, but there was only air.",
                "Make your mouth small and round, like a berry.",
                "{He} made a small round mouth, and a whistle flew out."),
    "bake bread": ("The first bread came out as hard as a stone.",
                   "Be patient. Bread needs time to rise.",
                   "{He} waited, and the bread came out soft and golden."),
    "count to ten": ("{He} always forgot the number seven.",
                     "Count things you can touch, one after another.",
                     "{He} touched ten stones and counted them all, even number seven."),
    "read": ("The letters looked like little black ants.",
             "Learn one letter a day, and soon they will be friends.",
             "Letter by letter the words woke up, and {he} read a whole page."),
    "draw": ("The first picture looked like a potato.",
             "Look for a long time before you begin.",
             "{He} looked for a long time, and then {he} drew a fine picture."),
    "skate": ("{He} sat down hard on the ice.",
              "Bend your knees and let the ice carry you.",
              "{He} bent {his} knees and skated in a big circle."),
    "row a boat": ("The boat went round and round in circles.",
                   "Pull both sides at the same time.",
                   "{He} pulled both sides at the same time, and the boat went straight."),
    "play the drum": ("It sounded like pots falling down the stairs.",
                      "Play it the way your heart beats.",
                      "{He} played it the way {his} heart was beating, and everyone clapped."),
    "tell a story": ("{He} forgot the end before {he} came to the middle.",
                     "Begin with something true, and the rest will follow.",
                     "{He} began with something true, and the story went on until the stars came out."),
    "ask for help": ("The words stayed in {his} mouth.",
                     "Helping makes friends glad, so you may always ask.",
                     "{He} asked in a small voice, and everyone came to help."),
}

# name: (the trouble, what the helper says, how it was solved)
OBSTACLES = {
    "river": ("a wide river lay across the path, and there was no way over",
              "There is an old log in the reeds. We can use it",
              "Together they pushed the log over the water and walked across"),
    "wall": ("a high stone wall stood in the way",
             "If you stand on my back, you can reach the top",
             "They helped each other up, one stone at a time, and came down on the other side"),
    "dark": ("it grew so dark that nobody could see the path",
             "Let us follow the fireflies. They know the way",
             "They followed the little lights, step by step, until the path was plain again"),
    "snow": ("the snow became too deep to walk in",
             "We can make a sled out of this branch",
             "They sat on the branch and slid over the snow, laughing all the way"),
    "gate": ("an iron gate stood in the way, and it was locked",
             "I know where the key is. It is under the flat stone",
             "They lifted the flat stone, found the key and opened the gate"),
    "hedge": ("a hedge full of thorns blocked the way",
              "There is a small hole near the ground, if we go slowly",
              "They went slowly through the small hole, and not one thorn touched them"),
    "mud": ("the path had turned into deep mud",
            "Let us lay down sticks and walk on them",
            "They laid down sticks, one after another, and crossed with clean feet"),
    "bridge": ("they came to a bridge that was broken in the middle",
               "I have a rope. We can tie it to the post",
               "They tied the rope to the post and held on tight until they were over"),
    "goose": ("an angry goose stood in the way and hissed",
              "Perhaps she is only hungry. Give her some bread",
              "They gave the goose some bread, and she let them pass with a bow"),
    "wind": ("the wind grew so strong that it pushed everyone back",
             "Walk behind me, and hold on",
             "One behind the other they walked, heads down, until the wind grew tired"),
    "hill": ("the hill became so steep that every leg shook",
             "Let us rest every ten steps and sing",
             "They rested every ten steps and sang, and soon they were at the top"),
    "fog": ("thick fog came down and hid the way",
            "Listen to the bell of the church. We can walk toward it",
            "They walked toward the sound of the bell, and the fog opened like a door"),
}

SPOTS = ["under the bed", "behind the door", "in the tall grass", "under the old bench", "behind the well",
         "in every corner", "between the roots", "on top of the shelf", "under the stairs"]
LIE = ["under a big leaf", "between two stones", "in the soft moss", "on a low branch", "half hidden in the sand",
       "in the roots of an old oak", "in the grass, shining"]

OPPOSITES = """big small|hot cold|day night|up down|left right|happy sad|fast slow|old young|old new|light dark
hard soft|open closed|wet dry|full empty|long short|high low|loud quiet|good bad|early late|near far|in out|yes no
first last|strong weak|rich poor|clean dirty|thick thin|heavy light|black white|true false|warm cool|front back
begin end|give take|come go|buy sell|awake asleep|easy hard|above below|always never|win lose|laugh cry|push pull
top bottom|hello goodbye|love hate|summer winter|sweet sour|brave afraid|wide narrow"""
OPPOSITES = [tuple(p.split()) for p in OPPOSITES.replace("\n", "|").split("|")]

COLOUR_OF = [("the sky", "blue"), ("grass", "green"), ("the sun", "yellow"), ("snow", "white"), ("the night", "black"),
             ("a lemon", "yellow"), ("a banana", "yellow"), ("a carrot", "orange"), ("an orange", "orange"),
             ("a tomato", "red"), ("a fox", "red"), ("a crow", "black"), ("a swan", "white"), ("the sea", "blue"),
             ("milk", "white"), ("a frog", "green"), ("coal", "black"), ("an elephant", "grey"), ("a mouse", "grey"),
             ("a pig", "pink"), ("a leaf", "green"), ("a strawberry", "red"), ("chocolate", "brown"), ("a bear", "brown"),
             ("the moon", "white"), ("a cloud", "white"), ("a cherry", "red"), ("gold", "yellow"), ("a rose", "red"),
             ("a whale", "blue")]

SOUNDS = dict(cat="meow", dog="woof", cow="moo", sheep="baa", duck="quack", pig="oink", horse="neigh", owl="hoot",
              frog="croak", lion="roar", bee="buzz", mouse="squeak", hen="cluck", crow="caw", wolf="howl",
              goat="maa", donkey="hee-haw", bird="tweet")
BABIES = dict(cat="kitten", dog="puppy", cow="calf", sheep="lamb", duck="duckling", pig="piglet", horse="foal",
              bear="cub", fox="cub", lion="cub", hen="chick", goat="kid", swan="cygnet", deer="fawn", frog="tadpole",
              wolf="pup", owl="owlet")
LIVES = dict(fox="in a den in the forest", bear="in a cave", fish="in the water", bird="in a nest", bee="in a hive",
             rabbit="in a burrow", mouse="in a small hole", owl="in a hollow tree", cow="on a farm", whale="in the sea",
             frog="near a pond", beaver="in a lodge of sticks", mole="under the ground", penguin="where it is cold",
             lion="in the grassland", monkey="in the trees", duck="on a pond", pig="on a farm", horse="in a stable",
             dog="in a house with people", cat="in a house with people", otter="by the river", squirrel="in a tree",
             deer="in the forest", hen="on a farm", king="in a castle", sailor="on a ship", wolf="in the forest",
             snail="in its own shell", dragon="only in tales")
EATS = dict(rabbit="carrots and grass", bear="honey, berries and fish", cow="grass", cat="fish and mice", bee="nectar",
            squirrel="nuts", mouse="cheese and seeds", monkey="fruit", sheep="grass", horse="hay and apples",
            bird="seeds and worms", owl="mice", penguin="fish", frog="flies", hen="corn", otter="fish", duck="water plants",
            elephant="leaves", lion="meat", hedgehog="snails", beaver="bark", fox="mice and berries", deer="leaves")
LEGS = {**{a: "four" for a in "fox bear rabbit mouse cat dog frog hedgehog squirrel goat sheep pony cow pig wolf deer lion tiger elephant donkey horse beaver otter".split()},
        **{a: "two" for a in "owl duck hen crow robin swan penguin bird girl boy".split()}, "bee": "six", "fish": "no",
        "snail": "no", "whale": "no"}

NUM = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

IRREGULAR = dict(mouse="mice", sheep="sheep", wolf="wolves", deer="deer", child="children", fish="fish", scarf="scarves",
                 foot="feet", tooth="teeth", man="men", woman="women", goose="geese", leaf="leaves", knife="knives",
                 ox="oxen", person="people")

# Things it is asked about and does not know. The second list is used for the
# held-out set only.
UNKNOWN_TRAIN = """helicopter computer car train school teacher doctor hospital pizza football guitar piano camera
television phone rocket planet volcano desert jungle pirate vampire zombie alien unicorn dinosaur spider snake crocodile
shark dolphin octopus kangaroo zebra giraffe camel parrot eagle peacock crab butterfly potato sandwich mirror pencil
window chair table lawyer policeman soldier nurse engineer scientist actor singer painter detective thief ghost witch
mermaid fairy elf troll ninja samurai cowboy astronaut airplane motorcycle bicycle tractor truck subway factory office
museum library theatre stadium bank hotel restaurant kitchen bathroom elevator database network server compiler keyboard
transistor laser magnet battery engine satellite telescope microscope molecule atom galaxy black hole war peace love
money freedom justice music winter holiday birthday wedding dream shadow secret treasure diamond sword shield crown
potion spell machine tower tunnel temple pyramid city country ocean glacier waterfall cactus mushroom pumpkin coffee
tea chess poker marathon wizard giant fish whale mole swan robin beaver scarf shell blanket button box
umbrella""".split()
UNKNOWN_HELD = """submarine tomato violin skeleton mosquito lobster hamster panther juggler banker trumpet ladder pepper
wagon bakery canyon comet cathedral spaceship captain chimney cricket dentist emperor falcon garage""".split()

UNKNOWN_Q = ["What is the capital of {Place}?", "Who is the president of {Place}?", "Explain {topic} to me.",
             "What is {topic}?", "How does {topic} work?", "Write a program that sorts a list of {u}s.",
             "Write code for a {u}.", "Who invented the {u}?", "How much does a {u} cost?", "When was {Place} founded?",
             "Where can I buy a {u}?", "Translate '{u}' into French.", "What is the weather in {Place} today?",
             "What time is it?", "What is the meaning of life?", "Give me a recipe for {u} soup.", "How tall is a {u}?",
             "Tell me about {topic}.", "Tell me about {Place}.", "What do you think about {topic}?", "Why is {topic} important?",
             "How do I fix my {u}?", "What is a {u}?", "What is the square root of {num}?", "Solve {num} x + {num} = {num}.",
             "Who won the world cup in {num}?", "What happened in {num}?", "Summarize {topic} in one sentence.",
             "Is {Place} bigger than {Place2}?", "How far is {Place} from {Place2}?", "Define {u}.", "What does {u} mean?",
             "Do you know {Place}?", "Can you explain {topic}?", "How can I learn {topic}?", "List three facts about {topic}."]
TOPICS_TRAIN = """quantum physics|gravity|photosynthesis|history|mathematics|politics|the economy|programming|Python|Linux|
chemistry|biology|philosophy|machine learning|evolution|electricity|inflation|democracy|geometry|the internet|PCI Express|
the stock market|climate change|relativity|medicine|law|poetry|art|religion|neural networks|cooking|sports|tax|JSON|
a transformer model|the second world war|DNA|Bitcoin|space travel|Shakespeare|chess openings|grammar"""
TOPICS_TRAIN = [t.strip() for t in TOPICS_TRAIN.replace("\n", "").split("|")]
TOPICS_HELD = ["astronomy", "calculus", "economics", "Kubernetes", "virtual memory", "psychology", "the Roman empire", "opera"]
LANDS_TRAIN = """France Germany Spain Italy Japan China India Brazil Canada Mexico Egypt Kenya Norway Sweden Poland Greece
Turkey Russia Peru Chile London Paris Berlin Rome Tokyo Moscow Madrid Australia America England""".split()
LANDS_HELD = ["Portugal", "Iceland", "Vienna", "Cuba", "Ireland", "Finland"]
