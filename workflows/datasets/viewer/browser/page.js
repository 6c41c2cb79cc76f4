// What all parts of the viewer share: making elements, and asking the server. Text is only ever set as text.

export const number = new Intl.NumberFormat("en").format;
export const share = (value) => (100 * value).toFixed(1) + " %";
export const find = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// The document at an address below the viewer's own. Throws an Error whose message is the server's.
export async function ask(path, query = {}, send = undefined) {
  const answer = await request(path, query, send);
  return answer.json();
}

export async function askBytes(path, query) {
  const answer = await request(path, query);
  return answer.arrayBuffer();
}

async function request(path, query, send) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const address = path + (given.length ? "?" + new URLSearchParams(given) : "");
  const how = send === undefined ? {} :
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(send) };
  let answer;
  try {
    answer = await fetch(address, how);
  } catch {
    throw new Error("The viewer's command has ended; start it again.");
  }
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}
