"""How good lists are, and whether they may go live.

    truth        what lists are held against: searches, explored clicks, needs of the source
    metrics      offline metrics of lists against what users asked for
    variety      near-duplicates, popular queries, distinct ones
    arms         what several arms offer the held-out users, scored
    reweighting  the hints that were shown, reweighted to another ranking
    offpolicy    SNIPS and doubly robust estimates from that
    intervals    bootstrap over users
    gates        the verdict on a challenger
    anchors      is a policy worse than a fixed one, over several days?
    alarms       what looks like reward hacking
    category     the classifier from texts to leaf categories
    encoder      the sentence encoder
    charts       PNG bytes
    config       what can be turned

Pure functions of what they are given; whoever fetches it is a stage. May import recall, context,
logs.
"""
