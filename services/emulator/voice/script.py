"""The text of every clip and of the scripted person. ``render`` renders one sentence at a time."""

from typing import Final

GREETING: Final = "greeting"
# The order matches the person's questions: about the light, then the keeper, then the tides.
REPLIES: Final = ("lighthouse", "keeper", "tide", "bread", "thunder")
STOPPED: Final = "stopped"
STOPPED_UNHEARD: Final = "stopped-unheard"
ONWARD: Final = "onward"
LONG: Final = "long"

CLIPS: Final[dict[str, str]] = {
    GREETING: """
        Hello. I am Bargein's emulator. Ask me something, and talk over me whenever you like.
    """,
    STOPPED: """
        You stopped me. The last words you heard were:
    """,
    STOPPED_UNHEARD: """
        You stopped me before you had heard a word.
    """,
    ONWARD: """
        All right, here is something else.
    """,
    "acknowledge": """
        Certainly.
    """,
    "commentary": """
        Let me think about that for a moment.
    """,
    "function": """
        I have asked the tool, and this is what it says.
    """,
    "lighthouse": """
        A lighthouse does its work with surprisingly little light. A bare lamp shines in every
        direction, so most of it is lost to the sky and the sea. In the eighteen twenties, Augustin
        Fresnel surrounded the lamp with rings of glass prisms. Each ring bends its own share of
        the light, until nearly all of it leaves level, in a few narrow beams. Turn the lens slowly,
        and a sailor twenty miles away sees a flash, whose rhythm tells which lighthouse it is.
    """,
    "keeper": """
        The lamp had a keeper, and the keeper seldom had a whole night's sleep. Before sunset he
        climbed the tower, trimmed the wick, and lit the flame. Every few hours he wound up a heavy
        weight. It sank slowly down the middle of the tower, and turned the lens like the works of
        a grandfather clock. In the morning he drew curtains around the glass. The same prisms that
        threw a beam out to sea could also gather the sunlight, and start a fire.
    """,
    "tide": """
        The tide is less a matter of water rising than of the earth turning. The moon pulls hardest
        on the ocean nearest to it, and least on the ocean farthest away. That difference stretches
        the sea into two gentle bulges, one on each side. As the earth spins beneath them, most
        coasts meet two high waters a day. Meanwhile the moon moves on along its own path. So each
        tide arrives about fifty minutes later than it did the day before.
    """,
    "bread": """
        Bread rises because yeast is alive. Stir it into flour and water, and it begins to feed on
        the sugars there, breathing out carbon dioxide as it goes. Kneading has meanwhile linked
        the proteins of the flour into gluten. Gluten is an elastic net, and it traps the gas in
        thousands of small bubbles. In the oven the bubbles swell, and the starch sets around them.
        Last of all the crust turns brown, and the kitchen begins to smell of toast and caramel.
    """,
    "thunder": """
        Thunder and lightning leave the cloud together, but they do not travel together. The light
        is here at once, while the sound needs about three seconds for every kilometer. So count
        the seconds between the flash and the thunder, and divide by three. That is how far away
        the storm is. The long rumble is a single bolt, heard from one end to the other. Its nearest
        part arrives first, and the rest follows from higher in the sky.
    """,
    LONG: """
        This is the story of a walk up a river, from the sea to the place where it begins. It takes
        three days on foot, and about three minutes in the telling.

        The walk starts at low tide, on a beach of gray sand. You would hardly know that there is a
        river here at all. Its last mile is a sheet of water no deeper than a hand, and it slides
        out over the flats without a sound. Wading birds stand in it on one leg. Twice a day the
        sea comes in, pushes the river back, and for a few hours the water runs uphill.

        Behind the beach lies the harbor. There are eleven boats, nine of them painted blue. An old
        man mends nets on the quay, as his father did, and he works without looking at his hands.
        He says that the river has moved twice in his lifetime. Once it took the road to the church
        with it, and once it gave a meadow back.

        Past the harbor wall the river becomes itself. The banks draw closer, the water turns
        brown, and reeds taller than a person stand on both sides. The path runs on a dike, so that
        you walk at the height of the swallows. They come down to drink without stopping, and each
        leaves a single line on the water.

        By noon there is a bridge. It has seven arches, and no two of them are alike, because every
        flood took one away and every mason had his own idea. The oldest is nearly nine hundred
        years old. If you stand under it and clap your hands, it answers twice.

        The first night is spent at the mill. The wheel still turns, although it has ground no flour
        for sixty years. These days it makes electricity, enough for the house, the barn, and one
        street lamp that the miller gave to the village. All night the water knocks on the wood. It
        is a slow and even sound, and guests say that they have never slept so well.

        On the second day the valley narrows. The fields grow smaller, and then there are no more
        fields. Oak gives way to beech, and beech gives way to pine. The river is green now, and so
        clear that you can count the stones at the bottom of a pool as deep as a well.

        Here the trout live. They stand with their heads upstream, perfectly still, and let the
        current bring them their dinner. A heron does the same thing from the other side. It can
        wait for an hour without moving a feather, and then it moves faster than the eye can follow.

        In the afternoon you hear the waterfall, long before you see it. At first it sounds like
        wind in the trees. Then the ground begins to hum under your boots. The river drops forty
        feet over a ledge of black rock, and the spray hangs in the air like smoke. When the sun
        comes round, at about four, there is a rainbow in it. The rainbow stays for twenty minutes,
        and then the shadow of the mountain puts it out.

        The second night is spent in a hut with a stove, a table, and eight beds. Somebody has
        always left firewood. Nobody has ever found out who it is.

        On the third day there is no path, only the stream. You step from stone to stone, and by
        nine you can cross it in one stride. The trees end. There is grass, then moss, then bare
        rock with snow in its cracks. Every few hundred steps a smaller stream joins from the left
        or the right, and each time you have to choose. The rule is to follow the colder one.

        And then, a little below the ridge, it is over. There is a hollow the size of a kitchen
        table, filled with water that does not seem to move at all. Put your hand in, and you can
        feel it pushing up between the pebbles, steady and very cold. It fell as snow before you
        were born, and it has been on its way through the mountain ever since.

        A flat stone stands beside the spring, and people have scratched their names in it. The
        oldest name is too worn to read. Under it somebody has drawn a boat, with a sail, and a
        small figure at the tiller. It is a strange thing to find so far from the sea. But from the
        top of the ridge, on a clear evening, you can look back down the whole valley. Beyond the
        pines, and the mill, and the seven arches, there is a thin bright line. That is where the
        water is going, and tomorrow it will be a mile closer.
    """,
}

# What the person says, and the silence before it in ms. The silences fit the emulator's replies:
# the person speaks after the greeting, then five seconds into the first answer, then after the
# emulator has repeated the last words and begun the next answer.
PERSON: Final[tuple[tuple[int, str], ...]] = (
    (6000, "How does a lighthouse work?"),
    (5700, "Wait, stop there. Who looked after the lamp?"),
    (13000, "Sorry, one more thing. Tell me about the tides."),
    (10000, "Thank you, that is all."),
)
PERSON_TAIL_MS: Final = 4000

# Words that flite pronounces wrongly, and how to spell them for it.
SPELLINGS: Final[dict[str, str]] = {
    "Bargein's": "bargins",
    "Fresnel": "fraynell",
}
