// Measures the page it stands in, opened and zoomed in every way, and tells its parent what is
// wrong.
(() => {
  const wrong = [];
  const say = (text) => { if (wrong.length < 20) wrong.push(innerWidth + ' px: ' + text); };
  const seen = (box) => box.width > 0 && box.height > 0;
  const words = (element) => JSON.stringify(element.textContent.trim().slice(0, 50));
  const meet = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  let texts = 0;
  const pictures = (how) => {
    for (const svg of document.querySelectorAll('svg')) {
      if (svg.parentElement.closest('svg')) continue;
      const frame = svg.getBoundingClientRect();
      const boxes = [];
      for (const text of svg.querySelectorAll('text')) {
        const box = text.getBoundingClientRect();
        if (!seen(box)) continue;
        texts += 1;
        if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
            box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
          say(how + words(text) + ' is cut');
        }
        for (const [other, its] of boxes) {
          if (meet(its, box)) say(how + words(text) + ' meets ' + words(other));
        }
        boxes.push([text, box]);
      }
    }
  };
  for (const details of document.querySelectorAll('details')) details.open = true;
  for (const zoom of ['z1', 'z4', 'z16']) {
    for (const input of document.querySelectorAll('.' + zoom)) input.checked = true;
    pictures(zoom + ': ');
  }
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) say('the page scrolls to ' + root.scrollWidth + ' px');
  for (const element of document.querySelectorAll('body *:not(svg *)')) {
    if (element.parentElement.closest('.scroll, .plot, pre')) continue;
    const box = element.getBoundingClientRect();
    if (seen(box) && box.right > innerWidth + 1) say(element.tagName + ' ' + words(element) + ' is cut');
  }
  if (texts < 100) say('only ' + texts + ' texts in pictures');
  parent.postMessage(wrong, '*');
})();
