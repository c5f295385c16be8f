// Makes calls with OpenTok's library for Node as it is, one after the other:
// `node opentok_calls.js URL KEY SECRET CALLS`, where CALLS is a JSON list of
// `[method, argument, ...]`. Prints a JSON list of their outcomes: null, or the
// error's kind and message.

const OpenTok = require("opentok");
const errors = require("opentok/lib/errors");

const [url, key, secret, calls] = process.argv.slice(2);
const opentok = new OpenTok(key, secret, url);

function kind(error) {
  return Object.keys(errors).find((name) => error instanceof errors[name]) ?? error.constructor.name;
}

function call([method, ...given]) {
  return new Promise((resolve) => {
    opentok[method](...given, (error) => resolve(error ? [kind(error), error.message] : null));
  });
}

async function main() {
  const outcomes = [];
  for (const each of JSON.parse(calls)) {
    outcomes.push(await call(each));
  }
  console.log(JSON.stringify(outcomes));
}

main();
