'use strict';
// Filters, sorts and copies. Without it the page shows everything, in the order of what matters most.
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = $('filter'), host = $('by-host'), step = $('by-step'), waived = $('by-waived');
  const severities = all('.by-severity');
  const groups = all('.finding').map((element) => ({element, rows: all('tbody tr', element), fold: element.querySelector('.where')}));
  const hosts = all('#host-table tbody tr');
  const endpoints = all('#endpoint-table tbody tr');
  const many = (number, one) => `${number} ${one}${number === 1 ? '' : 's'}`;
  let finding = '';

  function apply() {
    const part = host.value.trim().toLowerCase();
    const wanted = new Set(severities.filter((box) => box.checked).map((box) => box.value));
    // In quotation marks it is the whole name, as in the links to a host.
    const whole = part.length > 1 && part.startsWith('"') && part.endsWith('"') ? part.slice(1, -1) : null;
    const fits = ({dataset: {host: name}}) => (whole === null ? name.toLowerCase().includes(part) : name.toLowerCase() === whole);
    for (const row of [...hosts, ...endpoints]) row.hidden = !fits(row);
    let shown = 0, places = 0;
    for (const {element, rows, fold} of groups) {
      let here = 0;
      const isWanted = element.dataset.id === finding
        || (!finding && wanted.has(element.dataset.severity) && (!step.value || step.value === element.dataset.step));
      if (part && fold) fold.open = true;
      for (const row of rows) {
        row.hidden = !fits(row) || (!waived.checked && row.dataset.waived === '1');
        here += row.hidden ? 0 : 1;
      }
      element.hidden = !isWanted || !here;
      shown += element.hidden ? 0 : 1;
      places += element.hidden ? 0 : here;
    }
    $('nothing').hidden = shown > 0 || !groups.length;
    const visible = hosts.filter((row) => !row.hidden).length;
    $('shown').textContent = `${visible} of ${many(hosts.length, 'host')}, ${many(places, 'place')} in ${many(shown, 'finding')}`;
  }

  // The address says what is shown, so that a link, the back button and a bookmark work.
  function read() {
    const words = new URLSearchParams(location.hash.slice(1));
    if (!words.has('host') && !words.has('finding')) return;
    finding = words.get('finding') || '';
    host.value = words.has('host') ? `"${words.get('host')}"` : '';
    apply();
    for (const {element} of groups) if (finding && element.dataset.id === finding) element.open = true;
    $('findings').scrollIntoView();
  }

  function sortable(table) {
    all('thead th', table).forEach((head, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const down = head.getAttribute('aria-sort') === 'ascending';
        all('thead th', table).forEach((other) => other.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
        const order = head.dataset.kind === 'number'
          ? (a, b) => value(a) - value(b)
          : (a, b) => value(a).localeCompare(value(b), undefined, {numeric: true});
        const rows = [...table.tBodies[0].rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Without the clipboard's interface, which some browsers keep from files, as a command or by the reader's own keys.
  async function copied(block) {
    try {
      await navigator.clipboard.writeText(block.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(block);
      return document.execCommand('copy');
    }
  }

  function copyable(block) {
    if (block.parentElement.querySelector('button')) return;
    const button = document.createElement('button');
    const what = block.parentElement.dataset.what || `to do on ${block.closest('tr').dataset.host}`;
    const name = (word) => { button.textContent = word; button.setAttribute('aria-label', `${word}: ${what}`); };
    button.type = 'button';
    name('Copy');
    button.addEventListener('click', async () => {
      const done = await copied(block);
      name(done ? 'Copied' : 'Selected');
      $('said').textContent = done ? `Copied: ${what}` : 'Selected, not copied: press Ctrl+C';
      setTimeout(() => { name('Copy'); $('said').textContent = ''; }, 2500);
    });
    block.before(button);
  }

  const orders = {
    rank: (a, b) => a.dataset.rank - b.dataset.rank,
    hosts: (a, b) => b.dataset.hosts - a.dataset.hosts || orders.rank(a, b),
    step: (a, b) => a.dataset.step - b.dataset.step || orders.rank(a, b),
    id: (a, b) => a.dataset.id.localeCompare(b.dataset.id),
  };
  $('sort-findings').addEventListener('change', (event) => {
    $('groups').append(...groups.map(({element}) => element).sort(orders[event.target.value]));
  });

  form.addEventListener('input', () => { finding = ''; apply(); });
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () => setTimeout(() => {
    finding = '';
    history.replaceState(null, '', location.pathname + location.search);
    apply();
  }));
  addEventListener('hashchange', read);
  // On paper everything that is shown is open.
  let closed = [];
  addEventListener('beforeprint', () => {
    closed = all('details:not([open])').filter((element) => !element.hidden);
    closed.forEach((element) => { element.open = true; });
  });
  addEventListener('afterprint', () => closed.forEach((element) => { element.open = false; }));

  all('#host-table, #endpoint-table').forEach(sortable);
  all('#repairs .fix pre').forEach(copyable);
  // A fleet has findings by the thousand: what is closed gets its buttons when it is opened.
  $('groups').addEventListener('toggle', ({target}) => all('.fix pre', target).forEach(copyable), true);
  form.hidden = false;
  all('.sorting').forEach((element) => { element.hidden = false; });
  apply();
  read();
})();
