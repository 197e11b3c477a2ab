// A shared worker of the tests: reads and writes through whichever tab leads.
import { open } from "../../pkg/index.js";

let db;
onconnect = ({ ports: [port] }) => {
  port.onmessage = async ({ data: [command, ...args] }) => {
    try {
      db ??= await open();
      const value = await db[command](...args);
      port.postMessage({ value: value && new TextDecoder().decode(value) });
    } catch ({ name, message }) {
      port.postMessage({ name, message });
    }
  };
};
