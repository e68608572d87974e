"""The rules of an open range, bar by bar; written for accumulation, see `Chart` for the other side.

`Reader.step` returns whether the range is still open after the bar.
"""

from rollotape.domain.wyckoff import confidence
from rollotape.domain.wyckoff.chart import Chart
from rollotape.domain.wyckoff.facts import Standing
from rollotape.domain.wyckoff.rules import LOOKBACK
from rollotape.domain.wyckoff.state import (
    AWAITED,
    DECIDED,
    GROUND,
    NO_DIP,
    RISE,
    SPENT,
    SPRING_DIP,
    STRENGTH,
    TEST_DIP,
    UNDER,
    OpenRange,
    distances,
)


def opened(chart: Chart, i: int) -> OpenRange:
    """A climax at position `i` opens a range; unproven, it is not spoken of yet."""
    climax = chart.bottom(i)
    unit_sum: int = chart.tape.true_range_sum[i].item()
    new = OpenRange(i, climax.ts, climax, unit_sum, climax.level, climax.price, [("A", climax.ts)])
    if not chart.rules.climax_proven:
        prove(chart, new, i)
        chart.range(i, new)
    return new


def prove(chart: Chart, of: OpenRange, i: int) -> None:
    """Write the climax, known at position `i`."""
    of.proven = True
    chart.event(i, "SC", of.climax, confidence.climax(of.climax), of)


class Reader:
    """Reads one open range on."""

    def __init__(self, chart: Chart, of: OpenRange) -> None:
        self.chart, self.rules, self.of = chart, chart.rules, of
        self.distance = distances(of.unit_sum, chart.rules)
        self.changed = False

    def step(self, i: int, climactic: bool) -> bool:
        """The bar at position `i`; `climactic` when it is a climax by its own window. Still open?"""
        of, chart = self.of, self.chart
        self.changed = False
        if climactic and self._supersedes(i):
            return of.stage == RISE or self._end(i, "failed")
        if not of.proven and of.climax.level - chart.low[i] > self.distance.climax_slack:
            return False
        if of.support - chart.close[i] > self.distance.fail:
            return self._end(i, "failed")
        if of.stage == RISE:
            ended = self._rise(i)
        elif of.stage == GROUND:
            ended = self._ground(i)
        else:
            ended = self._strength(i)
        if ended:
            return self._end(i, ended)
        if i - of.opened >= self.rules.range_bars:
            return self._end(i, "expired")
        if self.changed:
            chart.range(i, of)
        return True

    def _end(self, i: int, status: Standing) -> bool:
        if self.of.proven:
            self.chart.range(i, self.of, status)
        return False

    def _supersedes(self, i: int) -> bool:
        """A lower climax on more volume takes the place of the first, and everything is measured anew."""
        of, chart = self.of, self.chart
        if chart.low[i] >= of.climax.level or (of.proven and chart.volume[i] <= of.climax.volume):
            return False
        if of.stage != RISE:
            return self.rules.climax_again and of.stage == GROUND and of.spring is None
        if of.proven:
            chart.status(i, "SC", of.climax, "superseded", of)
        else:  # nobody heard of the first one
            of.opened, of.opened_ts, of.phases = i, chart.ts(i), [("A", chart.ts(i))]
        of.climax, of.reaction = chart.bottom(i), None
        of.unit_sum = chart.tape.true_range_sum[i].item()
        of.support, of.support_price = of.climax.level, of.climax.price
        self.distance = distances(of.unit_sum, self.rules)
        if of.proven:
            prove(chart, of, i)
            chart.range(i, of)
        return True

    def _rise(self, i: int) -> Standing | None:
        """Until the automatic rally is known, or is not coming."""
        of, chart, rules = self.of, self.chart, self.rules
        if of.reaction is None or chart.high[i] > of.reaction.level:
            of.reaction = chart.top(i)
        rise, age = of.reaction.level - of.climax.level, i - of.climax.at
        if rise >= self.distance.ar_rise:
            if not of.proven:
                prove(chart, of, i)
                self.changed = True
            back = of.reaction.level - chart.close[i]
            if back * rules.ar_back.denominator >= rise * rules.ar_back.numerator or age >= rules.ar_bars:
                self._reaction(i, rise, back)
        elif age >= rules.ar_bars:
            return "abandoned"
        return None

    def _reaction(self, i: int, rise: int, back: int) -> None:
        of, chart = self.of, self.chart
        assert of.reaction is not None
        values = confidence.reaction(
            self._units(rise), of.reaction.at - of.climax.at, self.rules.ar_bars, back / rise
        )
        chart.event(i, "AR", of.reaction, values, of)
        of.stage, self.changed = GROUND, True
        if i > of.reaction.at:
            self._near_support(i)

    def _ground(self, i: int) -> Standing | None:
        """Between AR and SOS: secondary tests, springs and their tests, until strength shows."""
        of, chart, rules = self.of, self.chart, self.rules
        assert of.reaction is not None
        age = i - of.reaction.at
        if age >= rules.spring_age and chart.phase(i, of, "B"):
            self.changed = True
        self._near_support(i)
        if age >= rules.sos_age and chart.strong[i]:
            over = chart.close[i] - of.reaction.level
            if over >= self.distance.sos_over:
                self._sign_of_strength(i, over)
        return None

    def _near_support(self, i: int) -> None:
        """What a bar does near support; it is one thing only."""
        of, chart = self.of, self.chart
        under = of.support - chart.low[i]
        if of.dip == SPRING_DIP:
            self._spring_dip(i, under)
        elif of.dip == UNDER:
            if chart.close[i] > of.support:
                self._leave_dip(NO_DIP)
        elif of.test == AWAITED and self._test(i):
            pass
        elif under > self.distance.spring_over and self._may_spring(i):
            of.dip_from, of.dip_low, of.dip = i, chart.bottom(i), SPRING_DIP
            self._spring_dip(i, under)
        elif of.spring is None:
            self._secondary_test(i)

    def _may_spring(self, i: int) -> bool:
        of = self.of
        assert of.reaction is not None
        return of.secondary_tests > 0 or i - of.reaction.at >= self.rules.spring_age

    def _spring_dip(self, i: int, under: int) -> None:
        of, chart = self.of, self.chart
        assert of.dip_low is not None
        assert of.dip_from is not None
        if chart.low[i] < of.dip_low.level:
            of.dip_low = chart.bottom(i)
        above = chart.close[i] > of.support
        turned = chart.close[i] - of.dip_low.level >= self.distance.spring_turn
        if under > self.distance.spring_most:
            self._leave_dip(NO_DIP if above else UNDER)
        elif above and turned:
            self._spring(i)
        elif i - of.dip_from >= self.rules.spring_bars:
            self._leave_dip(UNDER)

    def _leave_dip(self, dip: int) -> None:
        self.of.dip, self.of.dip_from, self.of.dip_low = dip, None, None

    def _spring(self, i: int) -> None:
        of, chart, rules = self.of, self.chart, self.rules
        low, begin = of.dip_low, of.dip_from
        assert low is not None
        assert begin is not None
        under = self._units(of.support - low.level)
        values = confidence.spring(low, under, i - begin, rules.spring_bars, of.secondary_tests)
        chart.phase(i, of, "B")
        chart.phase(i, of, "C")
        worth = chart.event(i, "SPRING", low, values, of)
        chart.pattern(i, "SPRING", low, worth, of)
        of.spring, of.test, of.candidate = low, AWAITED, None
        self._leave_dip(NO_DIP)
        self.changed = True

    def _test(self, i: int) -> bool:
        """Whether the bar belongs to the test of the last spring, and is therefore nothing else."""
        of, chart, rules = self.of, self.chart, self.rules
        spring, candidate, low = of.spring, of.candidate, chart.low[i]
        assert spring is not None
        if low < spring.level:
            of.test, of.candidate = DECIDED, None
            return False
        turn = 0 if candidate is None else chart.close[i] - candidate.level
        if candidate is not None and chart.close[i] > candidate.close and turn >= self.distance.test_turn:
            values = confidence.test(candidate, self._units(candidate.level - spring.level))
            chart.event(i, "TEST", candidate, values, of)
            chart.status(i, "SPRING", spring, "test_passed", of)
            of.test, of.candidate = DECIDED, None
            return True
        young = i - spring.at <= rules.test_bars
        near = abs(low - of.support) <= self.distance.test_zone
        if young and near and low > spring.level and chart.quiet[i]:
            if candidate is None or low <= candidate.level:
                of.candidate = chart.bottom(i)
        elif not young and candidate is None:
            of.test = DECIDED
        return young or candidate is not None

    def _secondary_test(self, i: int) -> None:
        of, chart = self.of, self.chart
        assert of.reaction is not None
        low, zone = chart.low[i], self.distance.st_zone
        if of.dip == SPENT:
            if low > of.climax.level + self.distance.st_apart:
                of.dip = NO_DIP
            return
        if of.dip == NO_DIP:
            if i - of.reaction.at > self.rules.st_bars or low > of.climax.level + zone:
                return
            of.dip, of.dip_low = TEST_DIP, chart.bottom(i)
        assert of.dip_low is not None
        if low < of.dip_low.level:
            of.dip_low = chart.bottom(i)
        if of.climax.level - of.dip_low.level > zone:
            self._leave_dip(SPENT if chart.close[i] > of.support else UNDER)
        elif (
            chart.close[i] > of.climax.level
            and chart.close[i] - of.dip_low.level >= self.distance.st_turn
        ):
            self._tested(i)

    def _tested(self, i: int) -> None:
        """The dip is over: a secondary test if its lowest bar was quiet against the climax."""
        of, chart, rules = self.of, self.chart, self.rules
        low = of.dip_low
        assert low is not None
        self._leave_dip(SPENT)
        if low.volume * rules.st_volume.denominator > of.climax.volume * rules.st_volume.numerator:
            return
        distance = self._units(abs(low.level - of.climax.level))
        chart.event(i, "ST", low, confidence.secondary_test(low, of.climax, distance), of)
        of.secondary_tests += 1
        if low.level < of.support:
            of.support, of.support_price, self.changed = low.level, low.price, True
        if chart.phase(i, of, "B"):
            self.changed = True

    def _sign_of_strength(self, i: int, over: int) -> None:
        of, chart = self.of, self.chart
        bar = chart.top(i)
        chart.phase(i, of, "D")
        close = chart.tape.bars["close"][i].item()
        of.sos_confidence = chart.event(
            i, "SOS", bar, confidence.strength(bar, self._units(over)), of, price=close
        )
        chart.pattern(i, "SOS", bar, of.sos_confidence, of)
        of.stage, of.sos, of.crest, self.changed = STRENGTH, bar, bar, True
        of.candidate = None
        self._leave_dip(NO_DIP)

    def _strength(self, i: int) -> Standing | None:
        """After SOS: the last point of support, on the first pullback that is one."""
        of, chart = self.of, self.chart
        assert of.sos is not None
        assert of.crest is not None
        if of.pull_low is not None and chart.close[i] > chart.high[i - 1] and self._last_support(i):
            return "completed"
        if chart.high[i] > of.crest.level:
            of.crest, of.pull_low, of.pull_volume, of.pull_spread = chart.top(i), None, 0.0, 0
        else:
            if of.pull_low is None or chart.low[i] < of.pull_low.level:
                of.pull_low = chart.bottom(i)
            of.pull_volume += chart.volume[i]
            of.pull_spread += chart.high[i] - chart.low[i]
        return "completed" if i - of.sos.at >= self.rules.lps_bars else None

    def _last_support(self, i: int) -> bool:
        """Whether the bars since the crest were a quiet pullback; the confirming one is not in the means."""
        of, chart, rules = self.of, self.chart, self.rules
        low, sos, crest = of.pull_low, of.sos, of.crest
        assert low is not None
        assert sos is not None
        assert crest is not None
        assert of.reaction is not None
        if chart.low[i] < low.level:
            low = chart.bottom(i)
        over, bars, quiet = low.level - of.reaction.level, i - 1 - crest.at, rules.lps_quiet
        if (
            crest.level - low.level < self.distance.lps_depth
            or chart.close[i] - low.level < self.distance.lps_turn
            or -over > self.distance.lps_under
            or of.pull_volume * quiet.denominator >= bars * sos.volume * quiet.numerator
            or of.pull_spread * quiet.denominator >= bars * sos.spread * quiet.numerator
        ):
            return False
        values = confidence.last_support(
            of.pull_volume / (bars * sos.volume),
            of.pull_spread / (bars * sos.spread),
            self._units(over),
            of.sos_confidence,
        )
        worth = chart.event(i, "LPS", low, values, of)
        chart.pattern(i, "LPS", low, worth, of)
        return True

    def _units(self, distance: int) -> float:
        return distance / (self.of.unit_sum / LOOKBACK)
