"""What stands beside the image: what is asked and why, how the day goes, and the buttons that end a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from alcore.annotate.drafts import Draft
from alcore.annotate.session import Session

WIDTH, THUMBNAIL = 330, 96
NEAREST = 3
KEYS_SAM = "<b>S</b> segment slice · <b>Shift-S</b> all slices · <b>C</b> commit · <b>T</b> positive / negative point"
KEYS_PLAIN = (
    "<b>2</b> paint · <b>1</b> erase · <b>4</b> fill · <b>5</b> pick · <b>M</b> new object · <b>[ ]</b> brush size"
)
MAIN = "QPushButton { background: #2f7d4f; color: white; font-weight: bold; padding: 6px; }"


class Dock(QWidget):
    """Every control calls the session; nothing is decided here."""

    def __init__(self, session: Session, draft: Draft | None, sam_words: str) -> None:
        super().__init__()
        self.setMinimumWidth(WIDTH)
        self._session = session
        self._column = QVBoxLayout(self)
        self._column.setSpacing(6)
        self._heading()
        for line in session.order.news:
            self._line(escape(line), "color: #ffb000;")
        if draft is not None:
            self._offer(draft)
        if session.set_apart:
            names = ", ".join(f'"{name}"' for name in session.set_apart)
            self._line(f"of the draft, in layers that are no part of the label: {escape(names)}", "color: #ffb000;")
        self._seen()
        self._line(KEYS_SAM if session.canvas.state is not None else KEYS_PLAIN, "color: #b8b8b8;")
        self.sam = self._line(escape(sam_words), "color: #b8b8b8;")
        self._buttons()
        self._skip()
        self.status = self._line("", "color: #b8b8b8;")
        self._column.addStretch(1)
        self.tell()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """See Qt: a column of wrapped lines knows its height only once it knows its width."""
        self.setMinimumHeight(self._column.heightForWidth(WIDTH))
        super().showEvent(event)

    def tell(self, words: str = "") -> None:
        """Bring the last line up to date."""
        s = self._session
        minutes = s.activity.active_s / 60
        parts = [f"{s.n_objects} objects", f"{minutes:.0f} min of work"]
        self.status.setText(escape(" · ".join([*parts, *([words] if words else [])])))

    def _line(self, text: str, style: str = "") -> QLabel:
        label = QLabel(text)
        label.setWordWrap(True)
        label.setTextFormat(Qt.TextFormat.RichText)
        if style:
            label.setStyleSheet(style)
        self._column.addWidget(label)
        return label

    def _rule(self) -> None:
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        line.setStyleSheet("color: #555;")
        self._column.addWidget(line)

    def _heading(self) -> None:
        order = self._session.order
        self._line(f"<span style='font-size: 15pt; font-weight: bold'>{escape(order.suggestion)}</span>")
        rows = (
            f"<tr><td style='color: #9a9a9a; padding-right: 10px'>{escape(heading)}</td><td>{escape(text)}</td></tr>"
            for heading, text in order.facts
        )
        self._line(f"<table cellspacing='2'>{''.join(rows)}</table>")
        self._nearest()
        self._rule()
        for line in order.progress:
            self._line(escape(line))
        self._rule()

    def _nearest(self) -> None:
        """The labelled patches that look most like this one."""
        pictures = QHBoxLayout()
        folder = Path(self._session.order.folder)
        neighbours = self._session.patch.about.get("neighbours") or []
        shown = 0
        for neighbour in neighbours[:NEAREST]:
            pixmap = QPixmap(str(folder / str(neighbour.get("picture", ""))))
            if pixmap.isNull():
                continue
            cell, words = QVBoxLayout(), QLabel(f"{neighbour['suggestion']}  {float(neighbour['distance']):.2f}")
            picture = QLabel()
            picture.setPixmap(
                pixmap.scaled(
                    THUMBNAIL,
                    THUMBNAIL,
                    Qt.AspectRatioMode.KeepAspectRatio,
                    Qt.TransformationMode.SmoothTransformation,
                )
            )
            words.setStyleSheet("color: #9a9a9a;")
            cell.addWidget(picture)
            cell.addWidget(words)
            pictures.addLayout(cell)
            shown += 1
        if shown:
            pictures.addStretch(1)
            self._line("most alike among what was labelled (cosine distance):", "color: #9a9a9a;")
            self._column.addLayout(pictures)

    def _offer(self, draft: Draft) -> None:
        who = f" by {draft.user}" if draft.user and draft.user != self._session.order.user else ""
        when = time.strftime("%d %b %H:%M", time.localtime(draft.saved_at))
        row, label = QHBoxLayout(), QLabel(f"goes on from the draft of {when}{escape(who)}")
        label.setStyleSheet("color: #ffb000;")
        label.setWordWrap(True)
        self.start_again = QPushButton("Start again")
        self.start_again.setToolTip("Back to the pseudo-label; what is drawn is put aside")
        self.start_again.clicked.connect(self._session.start_again)
        row.addWidget(label, 1)
        row.addWidget(self.start_again)
        self._column.addLayout(row)

    def _seen(self) -> None:
        """Which slices the person has looked at."""
        depth = self._session.patch.shape[0]
        self.whole = QCheckBox("all slices")
        self.whole.setToolTip("Slices that were not looked at are ignored in training and scoring.")
        self.first, self.last = QSpinBox(), QSpinBox()
        seen = self._session.seen
        self.whole.setChecked(seen is None)
        for box, value in ((self.first, seen[0] if seen else 0), (self.last, seen[1] if seen else depth - 1)):
            box.setRange(0, depth - 1)
            box.setValue(value)
            box.setEnabled(seen is not None)
            box.setMaximumWidth(72)
            box.valueChanged.connect(self._seen_changed)
        self.whole.toggled.connect(self._seen_changed)
        if depth == 1:
            return
        row = QHBoxLayout()
        row.addWidget(QLabel("looked at"))
        row.addWidget(self.whole)
        row.addStretch(1)
        row.addWidget(QLabel("or"))
        row.addWidget(self.first)
        row.addWidget(QLabel("to"))
        row.addWidget(self.last)
        self._column.addLayout(row)

    def _seen_changed(self) -> None:
        part = not self.whole.isChecked()
        self.first.setEnabled(part)
        self.last.setEnabled(part)
        self._session.seen = (self.first.value(), self.last.value()) if part else None

    def _button(self, text: str, tip: str, act: Callable[[], None]) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        button.clicked.connect(lambda checked=False: act())
        return button

    def _buttons(self) -> None:
        s = self._session
        self.submit_next = self._button(
            "Submit and next     Ctrl-Enter", "Hand in the label and open the next patch", lambda: s.submit(True)
        )
        self.submit_next.setStyleSheet(MAIN)
        self.submit = self._button("Submit", "Hand in the label and close", lambda: s.submit(False))
        self.empty = self._button(
            "Not an object here", "Hand in that this patch holds none", lambda: s.nothing_here(s.order.goes_on)
        )
        self._column.addWidget(self.submit_next)
        row = QHBoxLayout()
        row.addWidget(self.submit)
        row.addWidget(self.empty)
        self._column.addLayout(row)

    def _skip(self) -> None:
        self.reason, self.words = QComboBox(), QLineEdit()
        self.reason.addItems(list(self._session.order.reasons))
        self.reason.setPlaceholderText("reason to skip")
        self.reason.setCurrentIndex(-1)  # none that steers later choices is given by accident
        self.words.setPlaceholderText("more, if you like")
        self.skip = self._button(
            "Skip",
            "No label for this patch; the reason steers what is asked next. What you drew is kept.",
            self._skipped,
        )
        self.skip.setEnabled(False)
        self.reason.currentIndexChanged.connect(lambda number: self.skip.setEnabled(number >= 0))
        row = QHBoxLayout()
        row.addWidget(self.reason)
        row.addWidget(self.words, 1)
        row.addWidget(self.skip)
        self._column.addLayout(row)

    def _skipped(self) -> None:
        self._session.skip(self.reason.currentText(), self.words.text())


def ask_person(parent: Any) -> Callable[[str, Any], int]:
    """A question with one button per answer; closing the box is the last answer, "back to work"."""
    from qtpy.QtWidgets import QMessageBox

    def ask(question: str, answers: Any) -> int:
        box = QMessageBox(parent)
        box.setWindowTitle("alscope annotate")
        box.setText(question)
        last = QMessageBox.ButtonRole.RejectRole
        buttons = [
            box.addButton(text, last if n == len(answers) - 1 else QMessageBox.ButtonRole.AcceptRole)
            for n, text in enumerate(answers)
        ]
        box.setEscapeButton(buttons[-1])
        box.exec()
        clicked = box.clickedButton()
        return next((n for n, button in enumerate(buttons) if button is clicked), len(buttons) - 1)

    return ask
