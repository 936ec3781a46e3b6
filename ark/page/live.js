// The node's word, live, by server-sent events; and whether it is heard at all.

const SILENCE_MS = 6_000;

/**
 * Follow an address for as long as the page is open.
 *
 * The node sends its document whenever something has changed, and every two seconds anyway. So a longer silence is
 * a lost connection, also where no one has closed it, as when a process hangs or a tunnel is cut.
 * @param {string} address
 * @param {function(Object): void} onState Takes each document.
 * @param {function({live: boolean, since: number|null}): void} onLink Hears whether the node is heard; `since` is
 *   the moment of its last word, milliseconds since the epoch, null before the first one.
 */
export function follow(address, onState, onLink) {
  let source = null;
  let heard = null;
  let begun = 0;

  const begin = () => {
    source?.close();
    begun = Date.now();
    source = new EventSource(address);
    source.addEventListener("state", (event) => {
      heard = Date.now();
      onLink({ live: true, since: heard });
      onState(JSON.parse(event.data));
    });
    source.addEventListener("error", () => onLink({ live: false, since: heard }));
  };

  // After a refusal, such as 503, the browser gives up for good; after a silence it waits for ever.
  const look = () => {
    const silent = Date.now() - Math.max(heard ?? 0, begun) > SILENCE_MS;
    if (silent) onLink({ live: false, since: heard });
    if (silent || source.readyState === EventSource.CLOSED) begin();
  };

  begin();
  setInterval(look, 1000);
  window.addEventListener("online", look);
  document.addEventListener("visibilitychange", look);
}
