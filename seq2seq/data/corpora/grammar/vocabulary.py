"""The words of the synthetic corpus, as tables that a person can read and correct.

Only what no rule predicts is written down; `lexicon` parses the tables and adds the regular forms. An underscore stands
for a space, "-" for nothing.

Tags carry meaning, so that people eat apples and not stations. Lower-case ones say what a noun is: h human, a animal,
f food, d drink, t text, o object, c clothes, v vehicle, m instrument, n nature, s furniture, p place, w thought, event.
Upper-case ones say what can be done with it: I be in, B go to, O be on, D put on, A be at, N stand beside, U be under,
X open, C clean, R repair, Z break, K bake, S slice, L cook, J build, P plant, H push, E switch on, V empty, G tidy up,
W write down, M learn, Q look forward to, j tell.
"""

# kind: English[/plural] gender German plural [tags]. Gender w is a weak masculine (der Junge, den Jungen): its other
# forms are like the plural, which holds for every weak noun used here.
NOUNS = """
h: man/men m Mann Männer, woman/women f Frau Frauen, child/children n Kind Kinder, boy w Junge Jungen
h: girl n Mädchen Mädchen, friend m Freund Freunde, neighbor w Nachbar Nachbarn, teacher m Lehrer Lehrer
h: doctor m Arzt Ärzte, nurse f Krankenschwester Krankenschwestern, farmer w Bauer Bauern, baker m Bäcker Bäcker
h: cook m Koch Köche, gardener m Gärtner Gärtner, driver m Fahrer Fahrer, policeman/policemen w Polizist Polizisten
h: student w Student Studenten, king m König Könige, queen f Königin Königinnen, princess f Prinzessin Prinzessinnen
h: brother m Bruder Brüder, sister f Schwester Schwestern, mother f Mutter Mütter, father m Vater Väter
h: son m Sohn Söhne, daughter f Tochter Töchter, uncle m Onkel Onkel, aunt f Tante Tanten
h: grandmother f Großmutter Großmütter, grandfather m Großvater Großväter, customer w Kunde Kunden
h: soldier w Soldat Soldaten, thief/thieves m Dieb Diebe, author m Autor Autoren, singer m Sänger Sänger
h: actress f Schauspielerin Schauspielerinnen, waiter m Kellner Kellner, lawyer m Anwalt Anwälte, pilot w Pilot Piloten
a: dog m Hund Hunde, cat f Katze Katzen, horse n Pferd Pferde, cow f Kuh Kühe, pig n Schwein Schweine
a: bird m Vogel Vögel, mouse/mice f Maus Mäuse, rabbit n Kaninchen Kaninchen, bear w Bär Bären, lion w Löwe Löwen
a: elephant w Elefant Elefanten, monkey w Affe Affen, wolf/wolves m Wolf Wölfe, fox m Fuchs Füchse, duck f Ente Enten
a: goose/geese f Gans Gänse
f: apple m Apfel Äpfel S, pear f Birne Birnen S, banana f Banane Bananen S, cake m Kuchen Kuchen KS, egg n Ei Eier L
f: potato/potatoes f Kartoffel Kartoffeln SL, tomato/tomatoes f Tomate Tomaten S, carrot f Karotte Karotten SL
f: sausage f Wurst Würste S, soup f Suppe Suppen L, bread n Brot - KS, cheese m Käse - S, rice m Reis - L
f: cherry f Kirsche Kirschen, strawberry f Erdbeere Erdbeeren, onion f Zwiebel Zwiebeln S, cookie m Keks Kekse K
f: pizza f Pizza Pizzas KS, meat n Fleisch - SL
d: water n Wasser -, milk f Milch -, tea m Tee -, coffee m Kaffee -, juice m Saft -, beer n Bier -, wine m Wein -
t: book n Buch Bücher X, letter m Brief Briefe X, newspaper f Zeitung Zeitungen, poem n Gedicht Gedichte M
t: story f Geschichte Geschichten j, novel m Roman Romane, report m Bericht Berichte, postcard f Postkarte Postkarten
o: ball m Ball Bälle, key m Schlüssel Schlüssel, knife/knives n Messer Messer, fork f Gabel Gabeln
o: cup f Tasse Tassen ZV, glass n Glas Gläser ZV, bottle f Flasche Flaschen ZXV, bag f Tasche Taschen XV
o: suitcase m Koffer Koffer XV, umbrella m Regenschirm Regenschirme XR, lamp f Lampe Lampen RE, clock f Uhr Uhren R
o: phone n Telefon Telefone RE, computer m Computer Computer RE, camera f Kamera Kameras RE, picture n Bild Bilder
o: box f Kiste Kisten XHV, stone m Stein Steine
c: hat m Hut Hüte, coat m Mantel Mäntel, shirt n Hemd Hemden, dress n Kleid Kleider, shoe m Schuh Schuhe C
c: jacket f Jacke Jacken, scarf/scarves m Schal Schals
v: car n Auto Autos C, bicycle n Fahrrad Fahrräder HC, bus m Bus Busse, train m Zug Züge, ship n Schiff Schiffe J
v: boat n Boot Boote J, truck m Lastwagen Lastwagen
m: piano/pianos n Klavier Klaviere R, guitar f Gitarre Gitarren R, violin f Geige Geigen R, flute f Flöte Flöten
n: tree m Baum Bäume PNU, flower f Blume Blumen P, rose f Rose Rosen P, bush m Busch Büsche PN
s: table m Tisch Tische DUH, chair m Stuhl Stühle DH, sofa n Sofa Sofas OHD, bench f Bank Bänke OHND
p: house n Haus Häuser IBJ, garden m Garten Gärten IG, kitchen f Küche Küchen ICG, room n Zimmer Zimmer ICG
p: city f Stadt Städte I, village n Dorf Dörfer I, school f Schule Schulen IB, forest m Wald Wälder I
p: park m Park Parks I, hotel n Hotel Hotels IBJ, church f Kirche Kirchen IBJ, museum n Museum Museen IB
p: theater n Theater Theater IB, library f Bibliothek Bibliotheken IB, office n Büro Büros IBCG
p: restaurant n Restaurant Restaurants IB, shop m Laden Läden IB, hospital n Krankenhaus Krankenhäuser IB
p: castle n Schloss Schlösser IBJ, apartment f Wohnung Wohnungen ICG, stable m Stall Ställe IC, roof n Dach Dächer OR
p: mountain m Berg Berge O, island f Insel Inseln O, bridge f Brücke Brücken OUJ, balcony m Balkon Balkone O
p: street f Straße Straßen O, station m Bahnhof Bahnhöfe AB, airport m Flughafen Flughäfen AB
p: window n Fenster Fenster AXC, door f Tür Türen AXR, lake m See Seen A, river m Fluss Flüsse A
p: beach m Strand Strände A
w: question f Frage Fragen W, answer f Antwort Antworten W, problem n Problem Probleme, idea f Idee Ideen W
w: concert n Konzert Konzerte Q, song n Lied Lieder M, game n Spiel Spiele MQ, secret n Geheimnis Geheimnisse
w: joke m Witz Witze j, dream m Traum Träume j, journey f Reise Reisen Q, party f Party Partys Q
w: exam f Prüfung Prüfungen Q, language f Sprache Sprachen M, rule f Regel Regeln MW, word n Wort Wörter MW
"""

# English[/past] German[|: separable] [stem of du and er] [participle; +: with sein] subjects arguments [flags].
# Arguments: case:tags, DA: receiver and thing, preposition+case:tags, N: the German subject is the English object ("Der
# Frau gefällt das Buch"), L: place needed, G: goal needed. Flags: m manner, v manner of voice, p place, w company,
# f for someone, t that, q whether, z infinitive, s a state (no modal verb, no "often").
VERBS = """
sleep/slept schlafen schläf geschlafen ha - pw
laugh lachen - - h - vpw
cry weinen - - h - p
sing/sang singen - gesungen h - vpwf
dance tanzen - - h - pwf
work arbeiten - - h - mpw
play spielen - - ha - pw
swim/swam schwimmen - +geschwommen ha - mw
dream träumen - - h - p
wake_up/woke_up auf|wachen - + ha - p
get_up/got_up auf|stehen - +aufgestanden h - -
fall_asleep/fell_asleep ein|schlafen schläf +eingeschlafen ha - p
arrive an|kommen - +angekommen h - p
depart ab|fahren fähr +abgefahren v - -
shout schreien - geschrien h - p
rest sich_aus|ruhen - - ha - p
hide/hid sich_verstecken - - ha - p
travel reisen - + h - mw
run_away/ran_away weg|laufen läuf +weggelaufen ha - -
come_back/came_back zurück|kommen - +zurückgekommen ha - -
stay bleiben - +geblieben ha L:IOAU w
live wohnen - - h L:I ws
sit/sat sitzen - gesessen ha L:IOAU w
stand/stood stehen - gestanden ha L:AOBNU w
lie/lay liegen - gelegen ot L:D -
go/went gehen - +gegangen ha G:IBA w
run/ran laufen läuf +gelaufen ha G:IBA mw
drive/drove fahren fähr +gefahren h G:BA mw
return zurück|kehren - + h G:BA w
see/saw sehen sieh gesehen ha A:haopvcntms pt
hear/heard hören - - ha A:hav pt
eat/ate essen iss gegessen ha A:f mpw
drink/drank trinken - getrunken ha A:d mpw
buy/bought kaufen - - h A:fdotcvms pf
sell/sold verkaufen - - h A:fotcvms p
read/read lesen lies gelesen h A:t mp
write/wrote schreiben - geschrieben h A:t mpf
love lieben - - h A:ha s
know/knew kennen - gekannt h A:htp s
know#that/knew wissen - gewusst h - tqs
have/had haben - gehabt h A:acotvm s
need brauchen - - h A:ofcvm s
find/found finden - gefunden ha A:oahct p
look_for suchen - - ha A:oahct p
lose/lost verlieren - verloren h A:oc p
open öffnen - - h A:X m
close schließen - geschlossen h A:X m
carry tragen träg getragen h A:o m
wear/wore tragen träg getragen h A:c p
bring_along/brought_along mit|bringen - mitgebracht h A:ofdt -
call an|rufen - angerufen h A:h p
pick_up ab|holen - - h A:h p
visit besuchen - - h A:hB w
meet/met treffen triff getroffen h A:h p
invite ein|laden läd eingeladen h A:h -
greet begrüßen - - h A:h vp
ask fragen - - h A:h q
hug/hugged umarmen - umarmt h A:ha p
protect beschützen - - ha A:ha -
draw/drew zeichnen - - h A:anhvp mpf
wash waschen wäsch gewaschen h A:cv mp
clean putzen - - h A:C m
tidy_up auf|räumen - - h A:G mw
repair reparieren - - h A:Rv mpf
break/broke zerbrechen zerbrich zerbrochen h A:Z -
steal/stole stehlen stiehl gestohlen h A:ovcm p
cut/cut schneiden - geschnitten h A:S mp
bake backen - gebacken h A:K pf
cook kochen - - h A:L mpf
build/built bauen - - h A:J f
plant pflanzen - - h A:P pf
feed/fed füttern - - h A:a mp
catch/caught fangen fäng gefangen ha A:a p
chase verfolgen - - ha A:ha -
watch beobachten - - ha A:hav p
understand/understood verstehen - verstanden h A:hwt ts
learn lernen - - h A:M m
forget/forgot vergessen vergiss vergessen h A:ocw tz
explain erklären - - h A:w tm
push schieben - geschoben h A:H m
throw_away/threw_away weg|werfen wirf weggeworfen h A:otcf -
give_back/gave_back zurück|geben gib zurückgegeben h A:ot -
write_down/wrote_down auf|schreiben - aufgeschrieben h A:W m
put_on/put_on an|ziehen - angezogen h A:c m
take_off/took_off aus|ziehen - ausgezogen h A:c m
turn_on ein|schalten - - h A:E -
prepare vor|bereiten - - h A:Q mf
like gefallen gefäll gefallen h N:octvpmw s
help helfen hilf geholfen h D:h p
thank danken - - h D:h v
follow folgen - + ha D:ha m
answer antworten - - h D:h v
trust vertrauen - - h D:h s
listen_to zu|hören - - h D:h p
belong_to gehören - - otcv D:h s
give/gave geben gib gegeben h DA:otfdc -
show zeigen - - h DA:otcv p
send/sent schicken - - h DA:ot -
lend/lent leihen - geliehen h DA:ov -
tell/told erzählen - - h DA:j p
offer an|bieten - angeboten h DA:fd -
wait_for warten - - ha auf+A:hv p
think_of/thought_of denken - gedacht h an+A:hwp -
laugh_about lachen - - h über+A:j vp
talk_about sprechen sprich gesprochen h über+A:hwtp pw
dream_of träumen - - h von+D:hp -
ask_for bitten - gebeten h um+A:fd v
look_after auf|passen - - h auf+A:ha -
take_part_in/took_part_in teil|nehmen nimm teilgenommen h an+D:Q w
fear sich_fürchten - - ha vor+D:ha s
remember sich_erinnern - - h an+A:hpwt s
look_forward_to sich_freuen - - h auf+A:Q s
fall_in_love_with/fell_in_love_with sich_verlieben - - h in+A:h -
say/said sagen - - h - t
believe glauben - - h - ts
think/thought denken - gedacht h - t
hope hoffen - - h - tzs
promise versprechen versprich versprochen h - tz
find_out/found_out heraus|finden - herausgefunden h - tq
try versuchen - - h - z
decide beschließen - beschlossen h - z
plan/planned planen - - h - z
begin/began an|fangen fäng angefangen h - z
refuse sich_weigern - - h - z
be/was sein - +gewesen haofdtcvp - -
"""

# Present tenses that no rule gives: ich, du, er, plural.
IRREGULAR = """
sein bin bist ist sind
haben habe hast hat haben
wissen weiß weißt weiß wissen
"""

# The few verbs whose past is the preterite even in spoken German; all others take the perfect.
PRETERITES = {"sein": "war", "haben": "hatte", "wissen": "wusste"}

# English link past: German ich du er plural preterite, who can be its subject (* anything).
MODALS = """
can - could können kann kannst kann können konnte ha
want to wanted wollen will willst will wollen wollte ha
have to had müssen muss musst muss müssen musste ha
be allowed_to was dürfen darf darfst darf dürfen durfte ha
would like_to - möchten möchte möchtest möchte möchten - h
should - - sollen sollte solltest sollte sollten - *
will - - werden werde wirst wird werden - *
"""

# English German[/stem before an ending] rank tags. The rank gives the order of two adjectives: opinion, size, state,
# age, color, origin (not used after "to be"). Only the last three come second: "klug, stark" would need a comma.
ADJECTIVES = """
beautiful schön 1 hpcnm
good gut 1 hfdtm
friendly freundlich 1 ha
famous berühmt 1 ht
clever klug 1 ha
lazy faul 1 ha
brave mutig 1 ha
polite höflich 1 h
curious neugierig 1 ha
shy schüchtern 1 ha
honest ehrlich 1 h
funny lustig 1 hat
strict streng 1 h
patient geduldig 1 h
strange seltsam 1 hotpw
ugly hässlich 1 ocps
delicious lecker 1 fd
interesting interessant 1 twp
boring langweilig 1 twp
difficult schwierig 1 w
easy leicht 1 w
important wichtig 1 tw
dangerous gefährlich 1 a
expensive teuer/teur 1 ocvms
cheap billig 1 ocvms
elegant elegant 1 c
tall groß 2 h
big groß 2 aopvfns
small klein 2 haopvfns
long lang 2 t
short kurz 2 t
heavy schwer 2 os
old alt 4 haotcvpms
young jung 4 han
new neu 4 otcvpmsw
rich reich 3 h
poor arm 3 h
tired müde/müd 3 ha
hungry hungrig 3 ha
sick krank 3 ha
happy glücklich 3 h
sad traurig 3 h
angry wütend 3 ha
nervous nervös 3 h
strong stark 3 ha
cold kalt 3 fd
warm warm 3 fdc
fresh frisch 3 f
clean sauber 3 ocvp
dirty schmutzig 3 aocvp
broken kaputt 3 ovm
empty leer 3 V
modern modern 3 pvs
dark dunkel/dunkl 3 p
quiet ruhig 3 p
white weiß 5 aocvns
black schwarz 5 aocv
red rot 5 ocvn
green grün 5 ocv
brown braun 5 aocs
gray grau 5 aocv
German deutsch 6 htv
French französisch 6 htv
Italian italienisch 6 htv
American amerikanisch 6 htv
"""

# English German kind: m, v (as in the flags of verbs), frequency or sentence, with a comma after it in English.
ADVERBS = """
quickly schnell m
slowly langsam m
carefully vorsichtig m
secretly heimlich m
alone allein m
patiently geduldig m
loudly laut v
quietly leise v
happily fröhlich v
often oft frequency
always immer frequency
never nie frequency
sometimes manchmal frequency
rarely selten frequency
perhaps vielleicht sentence
unfortunately leider sentence,
fortunately zum_Glück sentence,
of_course natürlich sentence,
probably wahrscheinlich sentence
"""

# English German tenses: P present, T past, F with "will" and the other modal verbs; R repeated, so not before "not".
TIMES = """
now jetzt P
today heute PTF
yesterday gestern T
tomorrow morgen F
soon bald F
tonight heute_Abend F
this_morning heute_Morgen T
every_day jeden_Tag PTR
every_evening jeden_Abend PTR
last_week letzte_Woche T
last_year letztes_Jahr T
next_week nächste_Woche F
next_year nächstes_Jahr F
in_the_morning am_Morgen PTF
in_the_afternoon am_Nachmittag PTF
in_the_evening am_Abend PTF
at_night in_der_Nacht PT
in_summer im_Sommer PTF
in_winter im_Winter PTF
on_Monday am_Montag TF
on_Friday am_Freitag TF
on_Sunday am_Sonntag TF
"""

# English German case role tags weight. Roles: L place, G goal, W company, F for someone.
PREPOSITIONS = """
in in D L I 4
on auf D L OD 3
at an D L A 3
behind hinter D L BN 1
in_front_of vor D L BN 1
next_to neben D L BN 1
under unter D L U 1
into in A G I 1
to zu D G BA 1
with mit D W h 3
without ohne A W h 1
for für A F h 1
"""

# English singular, English plural, German stem, declension, weight. der: like "der", ein: like "ein", viel: strong like
# a second adjective, bare: no ending. "-" where the number does not exist.
DETERMINERS = """
the the d der 40
a - ein ein 18
- - - bare 12
this these dies der 6
every - jed der 3
- all all der 2
- both beid der 2
- many viel viel 3
- some einig viel 3
- several mehrer viel 2
- two zwei bare 2
- three drei bare 2
- four vier bare 2
- five fünf bare 2
- ten zehn bare 2
my my mein ein 4
your your dein ein 3
his his sein ein 4
her her ihr ein 4
our our unser ein 3
their their ihr ein 3
"""

# English subject, object; German nominative, accusative, dative, reflexive; person: ich du er wir sie.
PRONOUNS = """
I me ich mich mir mich 0
you you du dich dir dich 1
he him er ihn ihm sich 2
she her sie sie ihr sich 2
we us wir uns uns uns 3
they them sie sie ihnen sich 4
"""

# English, German in the present, German in the past ("-": no past), kind: complement, adverbial, or event: adverbial
# but with neither negation nor modal verb.
CONJUNCTIONS = """
that dass dass complement
whether ob ob complement
because weil weil adverbial
although obwohl obwohl adverbial
when wenn als adverbial
while während während adverbial
before bevor bevor event
until bis bis event
if wenn - adverbial
"""
